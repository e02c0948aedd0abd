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

// The images of the virtual machines that setup provides; the second one when it is asked for in full.
const (
	tinyImage   = "tiny"
	debianImage = "debian-12"
)

// makeTiny makes the image tiny of Debian packages, once: it is kept in the user's cache. A machine on which that does not work has a cluster
// without it.
func (s *Setup) makeTiny(ctx context.Context) error {
	err := s.makeDisk(ctx, tinyImage, func(store *image.Store, report image.Report) (image.Image, error) { return store.Tiny(ctx, report) })
	if err != nil && ctx.Err() == nil {
		s.progress.say("! no virtual machines of image %s: %s; `make deps` installs what it takes", tinyImage, err)
		return nil
	}
	return err
}

// makeDebian makes the image debian-12 as ccloudvm does, with a boot loader, once. Who asks for it wants to know why it is not there.
func (s *Setup) makeDebian(ctx context.Context) error {
	recipe := image.Recipe{Suite: "bookworm", Packages: []string{"iputils-ping"}, Boots: true}
	err := s.makeDisk(ctx, debianImage, func(store *image.Store, report image.Report) (image.Image, error) {
		return store.Build(ctx, recipe, report)
	})
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w; `make deps` installs what it takes", err)
	}
	return err
}

// makeDisk makes an image and tells what it is about.
func (s *Setup) makeDisk(ctx context.Context, name string, by func(*image.Store, image.Report) (image.Image, error)) error {
	store, err := image.Open("")
	if err != nil {
		return err
	}
	made, err := by(store, func(p image.Progress) {
		switch {
		case strings.HasPrefix(p.Text, "downloading"):
			s.progress.say("  making the image %s of Debian packages, once", name)
		case strings.HasPrefix(p.Text, "installing"), strings.HasPrefix(p.Text, "configuring"), strings.HasPrefix(p.Text, "writing"):
			s.progress.say("  %4.0f s: %s", p.Elapsed.Seconds(), p.Text)
		}
	})
	if err == nil {
		s.disks[name] = made.Disk
	}
	return err
}

// upload gives the cluster an image, unless it has it.
func upload(ctx context.Context, operator *client.Client, name, disk string) error {
	file, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	wanted := api.CreateImage{Name: name, Visibility: cluster.Public, Format: cluster.FormatQcow2, Bytes: info.Size()}
	if _, err := operator.CreateImage(ctx, wanted); err != nil && !errors.Is(err, cluster.ErrExists) {
		return fmt.Errorf("create image %s: %w", name, err)
	}
	found, err := operator.Image(ctx, name)
	if err != nil || found.State == cluster.ImageActive {
		return err
	}
	if _, err := file.Seek(found.Uploaded, io.SeekStart); err != nil {
		return err
	}
	_, err = operator.UploadImage(ctx, name, found.Uploaded, file)
	return err
}
