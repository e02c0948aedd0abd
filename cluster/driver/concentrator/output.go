package concentrator

import (
	"bytes"
	"io"
	"os"
)

const (
	logFile = "agent.log"
	maxLog  = 1 << 20 // bytes of agent.log, and of agent.log.1
)

// bound keeps the output within its bounds: the agent goes on writing to the same file, which is emptied after it was copied.
func (c carrier) bound() {
	info, err := os.Stat(c.file(logFile))
	if err != nil || info.Size() <= maxLog {
		return
	}
	if data, err := c.tail(maxLog); err == nil && c.replace(logFile+".1", data) == nil {
		os.Truncate(c.file(logFile), 0) // it stays too long until the next time, otherwise
	}
}

func (c carrier) tail(most int64) ([]byte, error) {
	file, err := os.Open(c.file(logFile))
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

// lastLine is what the agent said last.
func (c carrier) lastLine() string {
	data, err := c.tail(512)
	if err != nil {
		return ""
	}
	data = bytes.TrimSpace(data)
	return string(data[bytes.LastIndexByte(data, '\n')+1:])
}
