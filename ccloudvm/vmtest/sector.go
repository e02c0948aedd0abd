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
)

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
	case Ends:
	}
	code = append(code, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd) // sleep state S5; 1: hlt; jmp 1b
	if len(code) > 510 {
		t.Fatalf("%d bytes do not fit a boot sector", len(code))
	}
	disk := make([]byte, 1<<20)
	copy(disk, code)
	disk[510], disk[511] = 0x55, 0xaa
	if err := os.WriteFile(path, disk, 0o444); err != nil {
		t.Fatal(err)
	}
}
