// Package localimage makes small container images out of programs of this machine, so that a cluster can be tried where no
// registry can be reached.
//
// An image is a tar archive written here and given to the engine's import call; a label with a digest of the archive tells an image
// that is up to date from one that must be made again. Busybox needs a static /bin/busybox (Debian: package busybox-static).
package localimage

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/ciaocloud/ciao/cluster"
)

// labelSource is the digest of what an image was made of.
const labelSource = "ciao.source"

// BusyboxPath is the program that Busybox packs.
const BusyboxPath = "/bin/busybox"

// Busybox makes an image of busybox and all its applets, with a shell as its command, unless the engine has it already.
func Busybox(ctx context.Context, engine *client.Client, reference string) error {
	archive, err := busyboxArchive(ctx)
	if err != nil {
		return fmt.Errorf("image %s: %w", reference, err)
	}
	sum := sha256.Sum256(archive)
	source := hex.EncodeToString(sum[:])
	found, err := engine.ImageInspect(ctx, reference)
	if err == nil && found.Config != nil && found.Config.Labels[labelSource] == source {
		return nil
	}
	if err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("image %s: %w: %w", reference, cluster.ErrUnavailable, err)
	}
	answer, err := engine.ImageImport(ctx, image.ImportSource{Source: bytes.NewReader(archive), SourceName: "-"}, reference, image.ImportOptions{
		Changes: []string{`CMD ["sh"]`, "ENV PATH=/bin", "LABEL " + labelSource + "=" + source},
	})
	if err != nil {
		return fmt.Errorf("image %s: import: %w: %w", reference, cluster.ErrUnavailable, err)
	}
	_, err = io.Copy(io.Discard, answer)
	return errors.Join(err, answer.Close())
}

func busyboxArchive(ctx context.Context) ([]byte, error) {
	program, err := os.ReadFile(BusyboxPath)
	if err != nil {
		return nil, fmt.Errorf("busybox is not installed; install the package busybox-static: %w: %w", cluster.ErrNotFound, err)
	}
	applets, err := exec.CommandContext(ctx, BusyboxPath, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("ask busybox for its applets: %w", err)
	}
	var archive bytes.Buffer
	w := writer{tar: tar.NewWriter(&archive)}
	for _, directory := range []string{"bin", "etc", "proc", "sys", "dev", "root", "tmp", "var"} {
		w.add(tar.Header{Typeflag: tar.TypeDir, Name: directory + "/", Mode: 0o755}, nil)
	}
	w.add(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	w.add(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nnogroup:x:65534:\n"))
	w.add(tar.Header{Name: "bin/busybox", Mode: 0o755}, program)
	for applet := range strings.FieldsSeq(string(applets)) {
		if name := path.Base(applet); name != "busybox" {
			w.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	return archive.Bytes(), errors.Join(w.err, w.tar.Close())
}

// writer writes members until the first error. Times are fixed, so that equal content gives an equal archive.
type writer struct {
	tar *tar.Writer
	err error
}

func (w *writer) add(header tar.Header, content []byte) {
	if w.err != nil {
		return
	}
	header.Size, header.ModTime = int64(len(content)), time.Unix(0, 0)
	if header.Typeflag == 0 {
		header.Typeflag = tar.TypeReg
	}
	if w.err = w.tar.WriteHeader(&header); w.err == nil {
		_, w.err = w.tar.Write(content)
	}
}
