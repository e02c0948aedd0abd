package shim

import (
	"bytes"
	"io"
	"os"
)

const maxOutput = 1 << 20 // bytes of output, and of output.1

// Bound keeps the output within its bounds: the program goes on writing to the same file, which is emptied after it was copied.
func (s Shim) Bound() {
	info, err := os.Stat(s.file(outputFile))
	if err != nil || info.Size() <= maxOutput {
		return
	}
	if data, err := s.tail(maxOutput); err == nil && os.WriteFile(s.file(outputFile+".1"), data, 0o600) == nil {
		os.Truncate(s.file(outputFile), 0) // it stays too long until the next time, otherwise
	}
}

func (s Shim) tail(most int64) ([]byte, error) {
	file, err := os.Open(s.file(outputFile))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(max(0, size-most), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, most))
}

// LastLine is what the program said last.
func (s Shim) LastLine() string {
	data, err := s.tail(512)
	if err != nil {
		return ""
	}
	data = bytes.TrimSpace(data)
	return string(data[bytes.LastIndexByte(data, '\n')+1:])
}
