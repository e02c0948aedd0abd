package vmtest

import (
	"os"
	"testing"
)

// Behaviour is what a guest does that is nothing but a boot sector, and so is up as soon as the firmware is.
type Behaviour int

// Behaviours of boot sectors.
const (
	Waits   Behaviour = iota // shuts down when the power button is pressed
	Ends                     // shuts down at once
	Resists                  // runs on whatever happens
	Fills                    // writes to each 64 KiB of its disk from 1 MiB on, then shuts down
	Reboots                  // reboots, and so on
	Echoes                   // sends back what comes on its serial console, and runs on whatever happens
)

const request = 0x1e0 // where in the sector the request to write to the disk is

// BootSector writes a raw disk image, whose guest says words on its serial console and behaves so, for the machine type q35 with legacy firmware.
func BootSector(t testing.TB, path, words string, behaviour Behaviour) {
	t.Helper()
	code := []byte{0xba, 0xf8, 0x03} // mov dx, 0x3f8
	for _, letter := range []byte(words) {
		code = append(code, 0xb0, letter, 0xee) // mov al, letter; out dx, al
	}
	// Power management registers are at 0x600 (ACPI 4.8.3.1: status, enable, control).
	switch behaviour {
	case Waits:
		code = append(code, 0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef) // enable the power button
		code = append(code, 0xfb, 0xf4,                               // sti; 1: hlt
			0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xf6) // in ax, status; test ah, 1; jz 1b
	case Resists:
		code = append(code, 0xfb, 0xf4, 0xeb, 0xfd) // sti; 1: hlt; jmp 1b
	case Fills:
		code = append(code, 0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
			0xbe, 0xe0, 0x7d, 0xb8, 0x00, 0x43, 0xb2, 0x80, 0xcd, 0x13, // 1: mov si, request; mov ax, 0x4300; mov dl, 0x80; int 0x13
			0x72, 0x0d, // jc 2f: beyond the disk's end
			0x81, 0x06, 0xe8, 0x7d, 0x80, 0x00, 0x83, 0x16, 0xea, 0x7d, 0x00, // add word [block], 128; adc word [block+2], 0
			0xeb, 0xe7) // jmp 1b; 2:
	case Reboots:
		code = append(code, 0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd) // mov al, 0xfe; out 0x64, al; 1: hlt; jmp 1b
	case Echoes:
		code = append(code, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8, // 1: mov dx, 0x3fd; in al, dx; test al, 1; jz 1b
			0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xf1) // mov dx, 0x3f8; in al, dx; out dx, al; jmp 1b
	case Ends:
	}
	code = append(code, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd) // sleep state S5; 1: hlt; jmp 1b
	if len(code) > request {
		t.Fatalf("%d bytes do not fit a boot sector", len(code))
	}
	disk := make([]byte, 1<<20)
	copy(disk, code)
	// BIOS's extended write (INT 13h, AH=43h): 64 sectors of what is at 0:7e00, from sector 2048 on.
	copy(disk[request:], []byte{0x10, 0, 64, 0, 0x00, 0x7e, 0, 0, 0x00, 0x08})
	disk[510], disk[511] = 0x55, 0xaa
	if err := os.WriteFile(path, disk, 0o444); err != nil {
		t.Fatal(err)
	}
}

// DiskSector writes a raw disk image like that of BootSector, whose guest says the first four bytes of its second disk, copies that disk's
// first sector to its second one, says W if it could, R if it could read only and N if there is no such disk, and shuts down.
func DiskSector(t testing.TB, path string) {
	t.Helper()
	say := []byte{0xba, 0xf8, 0x03, 0xee, 0xb0, '\n', 0xee, // mov dx, 0x3f8; out dx, al; mov al, '\n'; out dx, al
		0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd} // sleep state S5; 1: hlt; jmp 1b
	found := []byte{
		0xbe, 0x00, 0x80, 0xb9, 0x04, 0x00, 0xba, 0xf8, 0x03, 0xfc, // mov si, 0x8000; mov cx, 4; mov dx, 0x3f8; cld
		0xac, 0xee, 0xe2, 0xfc, // 1: lodsb; out dx, al; loop 1b
		0xb8, 0x01, 0x03, 0xb9, 0x02, 0x00, 0xba, 0x81, 0x00, 0xcd, 0x13, // write sector 2 of the second disk
		0xb0, 'W', 0x73, 0x02, 0xb0, 'R', // mov al, 'W'; jnc 1f; mov al, 'R'; 1:
		0xeb, 0x02, // jmp over the next
	}
	code := []byte{
		0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, // xor ax, ax; mov ds, ax; mov es, ax
		0xb8, 0x01, 0x02, 0xb9, 0x01, 0x00, 0xba, 0x81, 0x00, 0xbb, 0x00, 0x80, 0xcd, 0x13, // read sector 1 of the second disk to 0x8000
		0x72, byte(len(found)), // jc
	}
	code = append(append(append(code, found...), 0xb0, 'N'), say...) // mov al, 'N'
	disk := make([]byte, 1<<20)
	copy(disk, code)
	disk[510], disk[511] = 0x55, 0xaa
	if err := os.WriteFile(path, disk, 0o444); err != nil {
		t.Fatal(err)
	}
}
