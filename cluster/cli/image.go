package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
	"github.com/ciaocloud/ciao/terminal"
)

func (s *session) createImage() *cobra.Command {
	var request api.CreateImage
	var file, visibility, format string
	formats := namesOf(cluster.ImageFormats(), func(f cluster.ImageFormat) string { return string(f) })
	command := &cobra.Command{
		Use: "image NAME --file FILE", Short: "Upload an image: a disk of VMs, a file system, or what docker save writes", Args: terminal.Arguments("NAME"),
		Long: `Upload an image: a qcow2 or raw disk for VMs, a tar of a file system for containers and processes, or what docker save writes.

An upload that was cut goes on where it broke off when the command is given again.`,
		Example: `  docker save web:1 | cat >web.tar && ciao create image web --file web.tar
  ciao create image debian --file debian-12.qcow2 --digest sha256:9f0c…`,
	}
	command.RunE = func(command *cobra.Command, args []string) error {
		if file == "" {
			return terminal.Usage("say which file with --file")
		}
		request.Name, request.Visibility, request.Format = args[0], cluster.Visibility(visibility), cluster.ImageFormat(format)
		operator := request.Visibility == cluster.Public || request.Visibility == cluster.Internal
		return s.as(operator, func(ctx context.Context, c *client.Client, _ []string, streams terminal.Streams) error {
			if operator {
				c = c.ForTenant("")
			}
			created, err := uploadFile(ctx, c, request, file, streams.Err)
			if err != nil {
				return err
			}
			return terminal.Show(streams.Out, s.output, created, imageColumns)
		})(command, args)
	}
	flags := command.Flags()
	flags.StringVar(&file, "file", "", "the file with the image")
	flags.StringVar(&visibility, "visibility", "", "private (the default), public or internal (operator)")
	flags.StringVar(&format, "format", "", "qcow2, raw, tar or docker-archive; found out when it is not given")
	flags.StringVar(&request.Digest, "digest", "", "sha256:HEX that the file must have")
	offer(command, "visibility", []string{string(cluster.Private), string(cluster.Public), string(cluster.Internal)})
	offer(command, "format", formats)
	return s.printing(command)
}

// uploadFile creates an image and uploads its content, or goes on with an upload of the same file that was cut.
func uploadFile(ctx context.Context, c *client.Client, request api.CreateImage, name string, err io.Writer) (api.Image, error) {
	file, problem := os.Open(name)
	if problem != nil {
		return api.Image{}, problem
	}
	defer file.Close()
	shown := newMeter(err)
	defer shown.end()
	if problem := measure(ctx, &request, file, shown); problem != nil {
		return api.Image{}, problem
	}
	image, problem := c.CreateImage(ctx, request)
	if errors.Is(problem, cluster.ErrExists) {
		image, problem = begun(ctx, c, request, problem)
	}
	if problem != nil {
		return api.Image{}, problem
	}
	return uploadRest(ctx, c, image, file, shown)
}

// measure finds out what the file has, and refuses one that is not what it should be before anything is sent.
func measure(ctx context.Context, request *api.CreateImage, file *os.File, shown *meter) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return terminal.Usage("--file %s is not a file", file.Name())
	}
	request.Bytes = info.Size()
	sum := sha256.New()
	if _, err := io.Copy(sum, shown.of("reading", request.Bytes, 0, readerOf(ctx, file))); err != nil {
		return fmt.Errorf("read %s: %w", file.Name(), err)
	}
	digest := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	if wanted := cmp.Or(request.Digest, digest); wanted != digest {
		return fmt.Errorf("%s: %w: its digest is %s and not %s: it was damaged, or it is another file", file.Name(), cluster.ErrInvalid, digest, wanted)
	}
	request.Digest = digest
	return nil
}

// begun is the image of that name if an upload of the same content to it was cut.
func begun(ctx context.Context, c *client.Client, request api.CreateImage, exists error) (api.Image, error) {
	image, err := c.Image(ctx, request.Name)
	if err != nil || image.State != cluster.ImageUploading || image.Digest != request.Digest || image.Bytes != request.Bytes {
		return api.Image{}, exists
	}
	return image, nil
}

// uploadAttempts is how often an upload that was cut goes on by itself.
const uploadAttempts = 5

func uploadRest(ctx context.Context, c *client.Client, image api.Image, file *os.File, shown *meter) (api.Image, error) {
	for attempt := 1; ; attempt++ {
		if _, err := file.Seek(image.Uploaded, io.SeekStart); err != nil {
			return image, err
		}
		uploaded, err := c.UploadImage(ctx, image.ID, image.Uploaded, shown.of("uploading", image.Bytes, image.Uploaded, file))
		if err == nil && uploaded.State == cluster.ImageActive {
			return uploaded, nil
		}
		if err != nil && !errors.Is(err, cluster.ErrUnavailable) && !errors.Is(err, cluster.ErrTimeout) || attempt == uploadAttempts {
			return image, also(err, ctx.Err())
		}
		if err := sleep(ctx, time.Duration(attempt)*time.Second); err != nil {
			return image, err
		}
		if now, err := c.Image(ctx, image.ID); err == nil {
			image = now
		}
		if image.State == cluster.ImageActive { // the answer alone was lost
			return image, nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// meter shows on a terminal how far long work has come; elsewhere it is silent.
type meter struct {
	out   io.Writer // nil is silent
	drawn time.Time
}

func newMeter(out io.Writer) *meter {
	if !terminal.Interactive(out) {
		out = nil
	}
	return &meter{out: out}
}

// end leaves an empty line.
func (m *meter) end() {
	if m.out != nil && !m.drawn.IsZero() {
		fmt.Fprint(m.out, "\r\x1b[K")
	}
}

// of counts what is read of r.
func (m *meter) of(doing string, total, done int64, r io.Reader) io.Reader {
	if m.out == nil {
		return r
	}
	return &metered{meter: m, doing: doing, total: total, done: done, Reader: r}
}

type metered struct {
	*meter
	io.Reader
	doing       string
	total, done int64
}

func (m *metered) Read(data []byte) (int, error) {
	n, err := m.Reader.Read(data)
	m.done += int64(n)
	if now := time.Now(); now.Sub(m.drawn) >= 100*time.Millisecond {
		m.drawn = now
		fmt.Fprintf(m.out, "\r\x1b[K%s: %d%% of %s", m.doing, 100*m.done/max(m.total, 1), size(m.total))
	}
	return n, err
}

// readerOf is a reader that ends with a context.
func readerOf(ctx context.Context, r io.Reader) io.Reader { return cancellable{ctx, r} }

type cancellable struct {
	ctx context.Context //nolint:containedctx // io.Reader has no place for it
	io.Reader
}

func (c cancellable) Read(data []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.Reader.Read(data)
}
