package container_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/cluster/driver/container"
	"github.com/ciaocloud/ciao/require"
)

// uploaded is an image on the node with the given content.
func uploaded(t *testing.T, format cluster.ImageFormat, data []byte) *driver.Image {
	t.Helper()
	name := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(name, data, 0o400); err != nil {
		t.Fatal(err)
	}
	return &driver.Image{Path: name, ImageContent: cluster.ImageContent{Name: "mine", Format: format, Digest: "sha256:" + strings.Repeat("ab", 32)}}
}

// saved is what docker save writes of an image with that file system and name, which the engine does not have any more.
func saved(t *testing.T, n *node, files []byte, name string) []byte {
	t.Helper()
	answer, err := n.engine.ImageImport(t.Context(), image.ImportSource{Source: bytes.NewReader(files), SourceName: "-"}, name, image.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, answer)
	answer.Close()
	archive, err := n.engine.ImageSave(t.Context(), []string{name})
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	data, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.engine.ImageRemove(t.Context(), name, image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	return data
}

// exported is busybox's file system.
func exported(t *testing.T, n *node) []byte {
	t.Helper()
	instance := n.instance(t, untilStopped)
	n.run(t, instance)
	archive, err := n.engine.ContainerExport(t.Context(), container.Name(n.config.Node, instance.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	data, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// images of a repository in the engine.
func (n *node) images(t *testing.T) (references []string) {
	t.Helper()
	all, err := n.engine.ImageList(t.Context(), image.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		for _, reference := range one.RepoTags {
			if strings.HasPrefix(reference, "ciao-uploaded/"+n.config.Cluster+":") {
				references = append(references, reference)
			}
		}
	}
	return references
}

func TestUploadedImagesRun(t *testing.T) {
	require.Docker(t)
	require.Root(t)
	n := newNode(t, "")
	files := exported(t, n)
	for format, data := range map[cluster.ImageFormat][]byte{
		cluster.FormatTar:           files,
		cluster.FormatDockerArchive: saved(t, n, files, "ciao-test/victim:1"),
	} {
		t.Run(string(format), func(t *testing.T) {
			instance := n.instance(t, untilStopped)
			instance.Spec.Image, instance.Spec.Pull = "mine", cluster.PullNever
			instance.Image = uploaded(t, format, data)
			n.run(t, instance)
			status, err := n.driver.Status(t.Context(), instance.ID)
			if err != nil || status.Condition != driver.Running {
				t.Errorf("%+v, %v, want it running", status, err)
			}
			if _, err := n.engine.ImageInspect(t.Context(), "ciao-test/victim:1"); !cerrdefs.IsNotFound(err) {
				t.Errorf("the archive's own name was taken over into the engine: %v", err)
			}
			second := n.instance(t, untilStopped)
			second.Image = instance.Image
			if err := n.driver.Create(t.Context(), second, nil); err != nil {
				t.Fatal(err)
			}
			if err := n.driver.Delete(t.Context(), instance.ID); err != nil {
				t.Fatal(err)
			}
			if left := n.images(t); len(left) != 1 {
				t.Errorf("with a container left, the engine has %v", left)
			}
			if err := n.driver.Delete(t.Context(), second.ID); err != nil {
				t.Fatal(err)
			}
			if left := n.images(t); len(left) != 0 {
				t.Errorf("without containers, the engine has %v", left)
			}
		})
	}
}

// TestUploadedImageImportedTwice: two nodes that share the engine import one content, of which the engine makes two images with one name.
// Neither is left when the containers are gone.
func TestUploadedImageImportedTwice(t *testing.T) {
	require.Docker(t)
	require.Root(t)
	n := newNode(t, "")
	label := filters.NewArgs(filters.Arg("label", container.LabelUploaded))
	before, err := n.engine.ImageList(t.Context(), image.ListOptions{Filters: label})
	if err != nil {
		t.Fatal(err)
	}
	content := uploaded(t, cluster.FormatTar, exported(t, n))
	var instances []driver.Instance
	for range 2 {
		instance := n.instance(t, untilStopped)
		instance.Spec.Image, instance.Image = "mine", content
		n.run(t, instance)
		instances = append(instances, instance)
		for _, reference := range n.images(t) { // the other node has not seen it yet
			if len(instances) == 1 {
				n.untag(t, reference)
			}
		}
	}
	for _, instance := range instances {
		if err := n.driver.Delete(t.Context(), instance.ID); err != nil {
			t.Fatal(err)
		}
	}
	left, err := n.engine.ImageList(t.Context(), image.ListOptions{Filters: label})
	if err != nil || len(left) != len(before) {
		t.Errorf("%d images are left, %v", len(left)-len(before), err)
	}
}

// untag has another import take an image's name.
func (n *node) untag(t *testing.T, reference string) {
	t.Helper()
	var empty bytes.Buffer
	if err := tar.NewWriter(&empty).Close(); err != nil {
		t.Fatal(err)
	}
	answer, err := n.engine.ImageImport(t.Context(), image.ImportSource{Source: &empty, SourceName: "-"}, reference, image.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, answer)
	answer.Close()
	if _, err := n.engine.ImageRemove(t.Context(), reference, image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestUploadedImagesThatCannotBeUsed(t *testing.T) {
	require.Docker(t)
	require.Root(t)
	n := newNode(t, "")
	two, _ := json.Marshal([]map[string]any{{"Config": "a"}, {"Config": "b"}})
	lost, _ := json.Marshal([]map[string]any{{"Config": "nowhere.json", "Layers": []string{"nowhere"}}})
	for name, test := range map[string]struct{ manifest, says string }{
		"several images": {string(two), "holds 2 images"},
		"no manifest":    {"{}", "not what docker save writes"},
		"lost layers":    {string(lost), "the engine cannot use it"},
	} {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			w.WriteHeader(&tar.Header{Name: "manifest.json", Mode: 0o644, Size: int64(len(test.manifest))})
			io.WriteString(w, test.manifest)
			w.Close()
			instance := n.instance(t, untilStopped)
			instance.Image = uploaded(t, cluster.FormatDockerArchive, archive.Bytes())
			err := n.driver.Create(t.Context(), instance, nil)
			if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want it refused, saying %q", err, test.says)
			}
			if left := n.images(t); len(left) != 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}
