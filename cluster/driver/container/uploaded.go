package container

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
)

// reference is what the engine calls the image of an instance: an uploaded one by its digest, under a name that no registry has.
func (d *Driver) reference(instance driver.Instance) string {
	if instance.Image == nil {
		return instance.Spec.Image
	}
	return d.repository() + ":" + string(instance.Image.Format) + "-" + strings.TrimPrefix(instance.Image.Digest, "sha256:")
}

// repository of uploaded images in the engine. Nodes of a cluster that share an engine share them.
func (d *Driver) repository() string { return "ciao-uploaded/" + d.config.Cluster }

// load gives the content of an uploaded image to the engine.
func (d *Driver) load(uploaded driver.Image, reference string, tell func(string)) error {
	file, err := os.Open(uploaded.Path)
	if err != nil {
		return fmt.Errorf("open the content of the image: %w", err)
	}
	defer file.Close()
	tell("giving the image to the engine")
	ctx, cancel := context.WithTimeout(d.life, loadCall)
	defer cancel()
	if uploaded.Format == cluster.FormatTar {
		return d.importTar(ctx, file, reference)
	}
	return d.loadArchive(ctx, file, reference)
}

// importTar labels the image: nodes that share an engine may import one content at the same time, which makes as many images. The last
// one gets the name, and the others are found by the label.
func (d *Driver) importTar(ctx context.Context, file io.Reader, reference string) error {
	answer, err := d.engine.ImageImport(ctx, image.ImportSource{Source: file, SourceName: "-"}, reference, image.ImportOptions{
		Changes: []string{"LABEL " + LabelUploaded + "=" + reference},
	})
	if err == nil {
		defer answer.Close()
		err = readPull(answer, func(string) {})
	}
	return unusable(err)
}

// loadArchive gives what docker save wrote to the engine under our name alone: its own names could be those of other tenants' images.
func (d *Driver) loadArchive(ctx context.Context, file io.Reader, reference string) error {
	renamed, writing := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := rename(file, writing, reference)
		writing.CloseWithError(err)
		done <- err
	}()
	answer, err := d.engine.ImageLoad(ctx, renamed)
	if err == nil {
		err = readPull(answer.Body, func(string) {})
		answer.Body.Close()
	}
	renamed.Close() // an engine that refuses does not read to the end
	if renaming := <-done; renaming != nil && !errors.Is(renaming, io.ErrClosedPipe) {
		return renaming
	}
	return unusable(err)
}

// maxManifest bounds the manifest of an archive, which is read into memory.
const maxManifest = 1 << 20

// rename copies an archive that docker save wrote with another name for its one image.
func rename(from io.Reader, to io.Writer, reference string) error {
	in, out := tar.NewReader(from), tar.NewWriter(to)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return err
		}
		var content io.Reader = in
		switch path.Clean(header.Name) {
		case "repositories", "index.json", "oci-layout": // they name the image, too
			continue
		case "manifest.json":
			renamed, err := renameManifest(in, reference)
			if err != nil {
				return err
			}
			header.Size, content = int64(len(renamed)), bytes.NewReader(renamed)
		}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(out, content); err != nil {
			return err
		}
	}
}

func renameManifest(from io.Reader, reference string) ([]byte, error) {
	var images []map[string]any
	if err := json.NewDecoder(io.LimitReader(from, maxManifest)).Decode(&images); err != nil {
		return nil, fmt.Errorf("%w: the archive's manifest.json is not what docker save writes: %w", cluster.ErrInvalid, err)
	}
	if len(images) != 1 {
		return nil, fmt.Errorf("%w: the archive holds %d images and must hold one; save one alone", cluster.ErrInvalid, len(images))
	}
	images[0]["RepoTags"] = []string{reference}
	return json.Marshal(images)
}

// unusable tells a content that the engine cannot use from an engine that cannot be used.
func unusable(err error) error {
	var words refusal
	if errors.As(err, &words) && !full(string(words)) {
		return fmt.Errorf("%w: the engine cannot use it: %w", cluster.ErrInvalid, err)
	}
	return classify("give the image to the engine", err)
}

// drop removes an image, if it is of the cluster's own, from the engine unless a container uses it; the node's own files have its content still.
func (d *Driver) drop(ctx context.Context, reference string) error {
	if !d.ownReference(reference) {
		return nil
	}
	if err := d.removeImage(ctx, reference); err != nil {
		return err
	}
	return d.dropUnnamed(ctx, LabelUploaded+"="+reference)
}

// ownReference says whether only this cluster gives images this name.
func (d *Driver) ownReference(reference string) bool {
	return strings.HasPrefix(reference, d.repository()+":") || strings.HasPrefix(reference, d.keptRepository()+":")
}

func (d *Driver) removeImage(ctx context.Context, which string) error {
	ctx, cancel := context.WithTimeout(ctx, slowCall)
	defer cancel()
	_, err := d.engine.ImageRemove(ctx, which, image.RemoveOptions{PruneChildren: true})
	if cerrdefs.IsConflict(err) || cerrdefs.IsNotFound(err) {
		return nil
	}
	return classify("remove an uploaded image from the engine", err)
}

// dropUnnamed removes the uploaded images with a label that have lost their name to another import of the same content.
func (d *Driver) dropUnnamed(ctx context.Context, label string) error {
	found, err := d.engine.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("dangling", "true"), filters.Arg("label", label))})
	if err != nil {
		return classify("list the cluster's own images", err)
	}
	for _, one := range found {
		if !d.ownReference(one.Labels[LabelUploaded]) {
			continue
		}
		if err := d.removeImage(ctx, one.ID); err != nil {
			return err
		}
	}
	return nil
}

// dropAll removes all images of the cluster's own that no container uses, whoever gave them to the engine.
func (d *Driver) dropAll(ctx context.Context) error {
	found, err := d.engine.ImageList(ctx, image.ListOptions{
		Filters: filters.NewArgs(filters.Arg("reference", d.repository()), filters.Arg("reference", d.keptRepository())),
	})
	if err != nil {
		return classify("list the cluster's own images", err)
	}
	for _, one := range found {
		for _, reference := range one.RepoTags {
			if err := d.removeImage(ctx, reference); err != nil {
				return err
			}
		}
	}
	return d.dropUnnamed(ctx, LabelUploaded)
}
