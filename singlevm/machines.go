package singlevm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ciaocloud/ciao/ccloudvm/image"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/client"
)

// tinyImage is the image of the virtual machines that setup provides.
const tinyImage = "tiny"

// makeTiny makes the image tiny of Debian packages, once: it is kept in the user's cache. A machine on which that does not work has a cluster
// without it.
func (s *Setup) makeTiny(ctx context.Context) error {
	store, err := image.Open("")
	if err != nil {
		return err
	}
	s.tiny, err = store.Tiny(ctx, func(p image.Progress) {
		if strings.HasPrefix(p.Text, "downloading") {
			s.progress.say("  making the image %s of Debian packages, once", tinyImage)
		}
	})
	if err != nil && ctx.Err() == nil {
		s.progress.say("! no virtual machines of image %s: %s; `make deps` installs what it takes", tinyImage, err)
		return nil
	}
	return err
}

// uploadTiny gives the cluster the image, unless it has it.
func (s *Setup) uploadTiny(ctx context.Context, operator *client.Client) error {
	file, err := os.Open(s.tiny.Disk)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	wanted := api.CreateImage{Name: tinyImage, Visibility: cluster.Public, Format: cluster.FormatQcow2, Bytes: info.Size()}
	if _, err := operator.CreateImage(ctx, wanted); err != nil && !errors.Is(err, cluster.ErrExists) {
		return fmt.Errorf("create image %s: %w", tinyImage, err)
	}
	found, err := operator.Image(ctx, tinyImage)
	if err != nil || found.State == cluster.ImageActive {
		return err
	}
	if _, err := file.Seek(found.Uploaded, io.SeekStart); err != nil {
		return err
	}
	_, err = operator.UploadImage(ctx, tinyImage, found.Uploaded, file)
	return err
}
