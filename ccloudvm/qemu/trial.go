package qemu

import (
	"encoding/binary"
	"slices"
)

// trialExit is QEMU's exit status when the trial guest has reached its end: isa-debug-exit turns the value v that is written to it
// into the status 2v+1.
const trialExit = 0x2a<<1 | 1

// trialWork is how often the trial guest goes round a loop of two instructions: 10 ms where the processor runs the guest, 0.1 s where QEMU
// emulates it, and 16 s where KVM itself emulates every instruction, on which a kernel takes minutes to unpack itself.
const trialWork = 20_000_000

// trialGuest returns a multiboot kernel (Multiboot Specification 0.6.96) that the firmware loads at 1 MiB and that does what every
// real kernel does first: it builds page tables, enters 64-bit mode, and works there. Then it writes to isa-debug-exit. An
// accelerator that only survives real-mode code does not get to that end, one that is slower than emulation not in time.
func trialGuest() []byte {
	const base = 0x100000 // where it is loaded
	const header = 32

	var code []byte
	emit := func(b ...byte) { code = append(code, b...) }
	word := func(v uint32) { code = binary.LittleEndian.AppendUint32(code, v) }
	store := func(address, value uint32) { // mov dword [address], value
		emit(0xc7, 0x05)
		word(address)
		word(value)
	}
	// One level of tables each at 0x1000, 0x2000 and 0x3000, which map the first 2 MiB onto themselves.
	store(0x1000, 0x2003)
	store(0x1004, 0)
	store(0x2000, 0x3003)
	store(0x2004, 0)
	store(0x3000, 0x0083)
	store(0x3004, 0)
	emit(0xb8, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x22, 0xd8)       // mov eax, 0x1000; mov cr3, eax
	emit(0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0) // cr4 |= PAE
	emit(0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32)             // mov ecx, EFER; rdmsr
	emit(0x0d, 0x00, 0x01, 0x00, 0x00, 0x0f, 0x30)             // or eax, LME; wrmsr
	emit(0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80)       // eax = cr0 | PG
	emit(0x0f, 0x22, 0xc0)                                     // mov cr0, eax
	emit(0x0f, 0x01, 0x15)                                     // lgdt [pointer]
	lgdt := len(code)
	word(0)
	emit(0xea) // jmp 8:long
	jump := len(code)
	word(0)
	emit(0x08, 0x00)
	long := len(code)
	emit(0xb9) // mov ecx, trialWork
	word(trialWork)
	emit(0xff, 0xc9, 0x75, 0xfc) // 1: dec ecx; jnz 1b
	emit(0xb0, 0x2a, 0xe6, 0xf4) // mov al, 0x2a; out 0xf4, al
	emit(0xf4, 0xeb, 0xfd)       // 1: hlt; jmp 1b
	for len(code)%8 != 0 {
		emit(0)
	}
	gdt := len(code)
	code = binary.LittleEndian.AppendUint64(code, 0)
	code = binary.LittleEndian.AppendUint64(code, 0x00af9a000000ffff) // 64-bit code segment
	pointer := len(code)
	emit(15, 0)
	word(uint32(base + header + gdt))
	binary.LittleEndian.PutUint32(code[lgdt:], uint32(base+header+pointer))
	binary.LittleEndian.PutUint32(code[jump:], uint32(base+header+long))

	var magic, flags uint32 = 0x1badb002, 0x00010000 // flags: the addresses below are valid
	end := uint32(base + header + len(code))
	var head []byte
	for _, v := range []uint32{magic, flags, -uint32(magic+flags) & 0xffffffff, base, base, end, end, base + header} {
		head = binary.LittleEndian.AppendUint32(head, v)
	}
	return slices.Concat(head, code)
}
