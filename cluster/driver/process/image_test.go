package process_test

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/driver"
	"github.com/ciaocloud/ciao/require"
)

// image writes an archive; contents that begin with "-> " are links.
func image(t *testing.T, contents map[string]string) *driver.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	writer := tar.NewWriter(file)
	for name, content := range contents {
		header := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}
		if target, link := strings.CutPrefix(content, "-> "); link {
			header.Typeflag, header.Linkname, header.Size, content = tar.TypeSymlink, target, 0, ""
		}
		if err := writer.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return &driver.Image{ImageContent: cluster.ImageContent{Name: "tools", Format: cluster.FormatTar}, Path: path}
}

// pipe is an image that has a pipe in a file's place.
func pipe(t *testing.T, name string) *driver.Image {
	t.Helper()
	made := image(t, nil)
	file, err := os.Create(made.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	writer := tar.NewWriter(file)
	if err := writer.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeFifo, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return made
}

// A process with an image sees the image's files and nothing of the node's.
func TestImage(t *testing.T) {
	require.Command(t, "busybox")
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	instance := n.instance(t, "sh", "-c", "exec 2>&1; /bin/busybox ls -d /usr /etc/os-release; cat /data; id -u; echo $(/bin/busybox cut -d' ' -f2 /etc/resolv.conf)")
	instance.Spec.Image, instance.Spec.User, instance.Spec.Directory = "tools", "1234", "/srv"
	instance.Image = image(t, map[string]string{
		"bin/busybox": string(busybox), "bin/sh": "-> busybox", "bin/cat": "-> busybox", "bin/id": "-> busybox", "data": "of the image\n", "srv/x": "",
		"etc/passwd": "-> /../../../../../../etc/passwd", // it leads nowhere
	})
	n.begin(t, instance)
	n.becomes(t, instance.ID, driver.Ended)
	want := "ls: /usr: No such file or directory\nls: /etc/os-release: No such file or directory\nof the image\n1234\ntenant.test 172.16.5.1\n"
	if got := n.said(t, instance.ID); got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
}

func TestBadImages(t *testing.T) {
	n := newNode(t)
	text := filepath.Join(t.TempDir(), "text.tar")
	if err := os.WriteFile(text, []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		image *driver.Image
		user  string
		words string
	}{
		"no archive":      {&driver.Image{ImageContent: cluster.ImageContent{Name: "tools", Format: cluster.FormatTar}, Path: text}, "1", "cannot be unpacked"},
		"a disk":          {&driver.Image{ImageContent: cluster.ImageContent{Name: "tools", Format: cluster.FormatRaw}, Path: text}, "1", "needs a tar archive"},
		"a file as /etc":  {image(t, map[string]string{"etc": "x"}), "1", "is not a root directory"},
		"a pipe of users": {pipe(t, "etc/passwd"), "nobody", "there is no user nobody"},
		"a way out":       {image(t, map[string]string{"proc": "-> /tmp"}), "1", "escapes"},
		"the node's user": {image(t, map[string]string{"etc/passwd": "-> /../../../../../../etc/passwd", "bin/sh": "x"}), "nobody", "there is no user nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			instance := n.instance(t, "/bin/sh")
			instance.Spec.Image, instance.Spec.User, instance.Image = "tools", test.user, test.image
			err := n.driver.Create(t.Context(), instance, nil)
			if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), test.words) {
				t.Errorf("the error is %v, want words %q", err, test.words)
			}
			if status, err := n.driver.Status(t.Context(), instance.ID); err != nil || status.Condition != driver.Absent {
				t.Errorf("status is %+v, %v", status, err)
			}
		})
	}
}
