package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// CopyOptions say how to copy.
type CopyOptions struct {
	Recursive bool              // directories are refused without it
	Progress  func(bytes int64) // called with the sum so far, optional
}

// ErrIsDirectory says that a directory was to be copied without Recursive.
var ErrIsDirectory = errors.New("it is a directory (copy it with -r)")

// entry is the name of what is copied inside the tar stream.
const entry = "entry"

// uploadScript takes a tar stream with one entry and puts it at $1, or into $1 under the name $2 where $1 is a directory. It unpacks
// beside the destination and renames, so that a file is there whole or not at all; only a directory that is there already is
// filled in place.
const uploadScript = `set -eu
case $1 in '~') d=$HOME;; '~/'*) d=$HOME/${1#'~/'};; *) d=$1;; esac
case $d in */) mkdir -p -- "$d";; esac
if [ -d "$d" ]; then d=${d%/}/$2; fi
p=$(dirname -- "$d"); mkdir -p -- "$p"
t=$(mktemp -d -- "$p/.copy-XXXXXX"); trap 'rm -rf -- "$t"' EXIT
tar --extract --preserve-permissions --no-same-owner --file - --directory "$t"
if [ -d "$t/entry" ] && [ ! -L "$t/entry" ] && [ -d "$d" ]; then cp -a -- "$t/entry/." "$d/"
elif [ -d "$d" ] && [ ! -L "$d" ]; then echo "$d is a directory" >&2; exit 1
else mv -f -T -- "$t/entry" "$d"; fi
`

// downloadScript sends $1 as a tar stream with one entry. Status 21 says that it is a directory and $2 did not allow that.
const downloadScript = `set -eu
case $1 in '~') s=$HOME;; '~/'*) s=$HOME/${1#'~/'};; *) s=$1;; esac
[ "$s" = / ] || s=${s%/}
[ -e "$s" ] || [ -L "$s" ] || { echo "$s: no such file or directory" >&2; exit 1; }
if [ -d "$s" ]; then [ "$2" = true ] || exit 21; f=; else f=--dereference; fi
cd -- "$(dirname -- "$s")"
b=$(basename -- "$s")
exec tar --create --format=pax $f --file - --transform="flags=rSh;s,^[^/]*,entry," -- "$b"
`

const isDirectoryStatus = 21

// Upload copies source on the host to destination in the guest, where a relative path starts in the user's home. Modes, times and
// symbolic links are kept. A file arrives whole or not at all; into a directory that exists, the source is put under its own
// name, as cp does.
func (c *Client) Upload(ctx context.Context, source, destination string, o CopyOptions) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if info.IsDir() && !o.Recursive {
		return fmt.Errorf("%s: %w", source, ErrIsDirectory)
	}
	absolute, err := filepath.Abs(source) // so that "." has a name
	if err != nil {
		return err
	}
	if destination == "" {
		destination = "~/"
	}
	reader, writer := io.Pipe()
	defer reader.Close()
	packed := make(chan error, 1)
	go func() {
		err := pack(&meter{w: writer, report: o.Progress}, absolute)
		writer.CloseWithError(err)
		packed <- err
	}()
	var stderr tail
	err = c.Run(ctx, Command{
		Argv:  []string{"sh", "-c", uploadScript, "copy", destination, filepath.Base(absolute)},
		Stdin: reader, Stderr: &stderr,
	})
	reader.Close()
	if packErr := <-packed; packErr != nil && !errors.Is(packErr, io.ErrClosedPipe) {
		return fmt.Errorf("copying %s to the guest: %w", source, packErr)
	}
	if err != nil {
		return fmt.Errorf("copying %s to the guest: %w", source, stderr.explain(err))
	}
	return nil
}

// Download copies source in the guest to destination on the host, by the rules of [Client.Upload]. Nothing the guest sends is
// written outside of the destination.
func (c *Client) Download(ctx context.Context, source, destination string, o CopyOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reader, writer := io.Pipe()
	defer reader.Close()
	unpacked := make(chan error, 1)
	go func() {
		err := unpack(reader, destination, path.Base(path.Clean(source)))
		reader.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		if err != nil {
			cancel() // the guest need not send the rest
		}
		unpacked <- err
	}()
	var stderr tail
	err := c.Run(ctx, Command{
		Argv:   []string{"sh", "-c", downloadScript, "copy", source, fmt.Sprint(o.Recursive)},
		Stdout: &meter{w: writer, report: o.Progress}, Stderr: &stderr,
	})
	if err != nil {
		writer.CloseWithError(err) // what has come so far is not put into place
	} else {
		writer.Close()
	}
	unpackErr := <-unpacked
	var exit *ExitError
	switch {
	case errors.As(err, &exit) && exit.Code == isDirectoryStatus:
		return fmt.Errorf("%s in the guest: %w", source, ErrIsDirectory)
	case err != nil && (unpackErr == nil || errors.Is(unpackErr, err)):
		return fmt.Errorf("copying %s from the guest: %w", source, stderr.explain(err))
	case unpackErr != nil:
		return fmt.Errorf("copying %s from the guest: %w", source, unpackErr)
	}
	return nil
}

// meter counts what passes.
type meter struct {
	w      io.Writer
	sum    int64
	report func(int64)
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.sum += int64(n)
	if m.report != nil {
		m.report(m.sum)
	}
	return n, err
}

// tail keeps the end of what a program says.
type tail struct{ b bytes.Buffer }

func (t *tail) Write(b []byte) (int, error) {
	const most = 4096
	if t.b.Len()+len(b) > most {
		t.b.Reset()
	}
	t.b.Write(b[max(0, len(b)-most):])
	return len(b), nil
}

// explain prefers the program's words to its status.
func (t *tail) explain(err error) error {
	var exit *ExitError
	if words := strings.TrimSpace(t.b.String()); words != "" && errors.As(err, &exit) {
		return errors.New(words)
	}
	return err
}
