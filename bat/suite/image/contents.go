package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"

	"github.com/ciaocloud/ciao/bat"
)

// random are bytes that are a raw disk and nothing else.
func random(mib int) []byte {
	data := make([]byte, mib<<20)
	_, _ = rand.Read(data) // never fails
	data[0] = 0            // no other format begins like that
	return data
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// qcow2 is the beginning of a qcow2 disk of version 3 with 1 GiB, whose tables are beyond its end; overlay has it name another file.
func qcow2(overlay bool) []byte {
	head := make([]byte, 512)
	order := binary.BigEndian
	copy(head, "QFI\xfb")
	order.PutUint32(head[4:], 3)
	if overlay {
		order.PutUint64(head[8:], 256)
		order.PutUint32(head[16:], uint32(copy(head[256:], "/etc/shadow")))
	}
	order.PutUint32(head[20:], 16)
	order.PutUint64(head[24:], 1<<30)
	order.PutUint32(head[36:], 2)
	order.PutUint64(head[40:], 3<<16)
	order.PutUint64(head[48:], 1<<16)
	order.PutUint32(head[56:], 1)
	order.PutUint32(head[96:], 4)
	order.PutUint32(head[100:], 104)
	return head
}

// file keeps data in a file that goes with the test.
func file(t *bat.T, name string, data []byte) string {
	directory, err := os.MkdirTemp("", bat.Prefix)
	t.Need(err, "make a directory")
	t.Cleanup(func(context.Context) {
		if err := os.RemoveAll(directory); err != nil {
			t.Errorf("remove %s: %v", directory, err)
		}
	})
	path := filepath.Join(directory, name)
	t.Need(os.WriteFile(path, data, 0o600), "write %s", path)
	return path
}

// program is a file system with one program, /bat: this one, which is static and so needs nothing else.
func program(t *bat.T) []byte {
	own, err := os.Executable()
	t.Need(err, "find this program")
	data, err := os.ReadFile(own)
	t.Need(err, "read this program")
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	t.Need(archive.WriteHeader(&tar.Header{Name: "bat", Mode: 0o755, Size: int64(len(data))}), "write a tar archive")
	_, err = archive.Write(data)
	t.Need(err, "write a tar archive")
	t.Need(archive.Close(), "write a tar archive")
	return out.Bytes()
}
