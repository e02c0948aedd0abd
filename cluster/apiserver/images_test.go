package apiserver_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/apiserver/apiservertest"
	"github.com/ciaocloud/ciao/cluster/client"
)

// rootfs is a tar with one file.
func rootfs(t *testing.T, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Name: "etc/motd", Mode: 0o644, Size: int64(len(content))})
	_, err2 := io.WriteString(w, content)
	if err := errors.Join(err, err2, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func upload(t *testing.T, c *client.Client, request api.CreateImage, data []byte) api.Image {
	t.Helper()
	request.Bytes = int64(len(data))
	created, err := c.CreateImage(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	image, err := c.UploadImage(t.Context(), created.ID, 0, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestLifeOfAnImage(t *testing.T) {
	a := apiservertest.New(t)
	blue := a.Client(a.Tenant(apiservertest.Blue))
	data := rootfs(t, strings.Repeat("hello ", 100_000))
	created, err := blue.CreateImage(t.Context(), api.CreateImage{Name: "root", Bytes: int64(len(data)), Digest: digestOf(data)})
	if err != nil || created.State != cluster.ImageUploading || created.Tenant != apiservertest.Blue || created.Uploaded != 0 {
		t.Fatalf("created %+v, %v", created, err)
	}
	if err := blue.DownloadImage(t.Context(), "root", io.Discard); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("downloaded before it was there: %v", err)
	}

	cut := io.MultiReader(bytes.NewReader(data[:100_000]), iotest.ErrReader(errors.New("the line broke")))
	if _, err := blue.UploadImage(t.Context(), "root", 0, cut); err == nil {
		t.Fatal("an upload that was cut succeeded")
	}
	half, err := blue.Image(t.Context(), "root")
	if err != nil || half.State != cluster.ImageUploading || half.Uploaded > 100_000 {
		t.Fatalf("after the cut: %+v, %v", half, err)
	}
	active := goOn(t, blue, data)
	if active.State != cluster.ImageActive || active.Format != cluster.FormatTar || active.Digest != digestOf(data) {
		t.Errorf("active: %+v", active)
	}
	if _, err := blue.UploadImage(t.Context(), "root", 0, bytes.NewReader(data)); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("changed: %v", err)
	}
	var back bytes.Buffer
	if err := blue.DownloadImage(t.Context(), "root", &back); err != nil || !bytes.Equal(back.Bytes(), data) {
		t.Errorf("downloaded %d bytes, %v", back.Len(), err)
	}
	if err := blue.DeleteImage(t.Context(), "root"); err != nil {
		t.Error(err)
	}
	if _, err := blue.Image(t.Context(), "root"); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("after its deletion: %v", err)
	}
}

// goOn uploads the rest once the controller has let go of the upload that was cut.
func goOn(t *testing.T, c *client.Client, data []byte) api.Image {
	t.Helper()
	for {
		half, err := c.Image(t.Context(), "root")
		if err != nil {
			t.Fatal(err)
		}
		image, err := c.UploadImage(t.Context(), "root", half.Uploaded, bytes.NewReader(data[half.Uploaded:]))
		if err == nil {
			return image
		}
		if !errors.Is(err, cluster.ErrConflict) {
			t.Fatal(err)
		}
	}
}

func TestImagesThatAreRefused(t *testing.T) {
	a := apiservertest.New(t)
	blue, operator := a.Client(a.Tenant(apiservertest.Blue)), a.Client(a.Operator())
	data := rootfs(t, "x")
	upload(t, blue, api.CreateImage{Name: "taken"}, data)
	for _, test := range []struct {
		name    string
		request api.CreateImage
		class   error
		says    string
	}{
		{"name of another", api.CreateImage{Name: "taken", Bytes: 1}, cluster.ErrExists, "choose another"},
		{"no name", api.CreateImage{Name: "-", Bytes: 1}, cluster.ErrInvalid, "letters"},
		{"format", api.CreateImage{Name: "x", Bytes: 1, Format: "vmdk"}, cluster.ErrInvalid, "qcow2"},
		{"digest", api.CreateImage{Name: "x", Bytes: 1, Digest: "md5:0"}, cluster.ErrInvalid, "sha256sum"},
		{"visibility", api.CreateImage{Name: "x", Bytes: 1, Visibility: "secret"}, cluster.ErrInvalid, "public"},
		{"public by a tenant", api.CreateImage{Name: "x", Bytes: 1, Visibility: cluster.Public}, cluster.ErrPermission, "operator"},
		{"internal by a tenant", api.CreateImage{Name: "x", Bytes: 1, Visibility: cluster.Internal}, cluster.ErrPermission, "operator"},
		{"too large", api.CreateImage{Name: "x", Bytes: 1 << 40}, cluster.ErrTooLarge, "max_image_mib"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := blue.CreateImage(t.Context(), test.request)
			if !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %v, saying %q", err, test.class, test.says)
			}
		})
	}
	if list, err := blue.Images(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%d images are left of refusals, %v", len(list)-1, err)
	}

	wrong, err := blue.CreateImage(t.Context(), api.CreateImage{Name: "wrong", Bytes: int64(len(data)), Digest: digestOf([]byte("other"))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = blue.UploadImage(t.Context(), wrong.ID, 0, bytes.NewReader(data))
	if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), "the digest is") {
		t.Errorf("wrong digest: %v", err)
	}
	wrong, err = blue.Image(t.Context(), "wrong")
	if err != nil || wrong.State != cluster.ImageUploading || wrong.Uploaded != 0 || !strings.Contains(wrong.Reason, "the digest is") {
		t.Errorf("after a wrong digest: %+v, %v", wrong, err)
	}

	if _, err := operator.UpdateQuota(t.Context(), "blue", api.UpdateQuota{Limits: map[string]string{"images": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := blue.CreateImage(t.Context(), api.CreateImage{Name: "third", Bytes: 1}); !errors.Is(err, cluster.ErrOverQuota) || !strings.Contains(err.Error(), "quota images") {
		t.Errorf("beyond the quota: %v", err)
	}
	if err := blue.DeleteImage(t.Context(), "wrong"); err != nil {
		t.Fatal(err)
	}
	if _, err := blue.CreateImage(t.Context(), api.CreateImage{Name: "third", Bytes: 1}); err != nil {
		t.Errorf("the quota was not given back: %v", err)
	}
}

func TestImagesOfOthers(t *testing.T) {
	a := apiservertest.New(t)
	blue, green, operator := a.Client(a.Tenant(apiservertest.Blue)), a.Client(a.Tenant(apiservertest.Green)), a.Client(a.Operator())
	private := upload(t, blue, api.CreateImage{Name: "mine"}, rootfs(t, "secret"))
	public := upload(t, operator, api.CreateImage{Name: "ours", Visibility: cluster.Public}, rootfs(t, "public"))
	internal := upload(t, operator, api.CreateImage{Name: "inner", Visibility: cluster.Internal}, rootfs(t, "internal"))
	for _, hidden := range []string{private.ID, "mine", internal.ID, "inner"} {
		for what, err := range map[string]error{
			"show":     second(green.Image(t.Context(), hidden)),
			"download": green.DownloadImage(t.Context(), hidden, io.Discard),
			"upload":   second(green.UploadImage(t.Context(), hidden, 0, strings.NewReader("x"))),
			"delete":   green.DeleteImage(t.Context(), hidden),
		} {
			if !errors.Is(err, cluster.ErrNotFound) {
				t.Errorf("%s of %s: %v, want not found", what, hidden, err)
			}
		}
	}
	if list, err := green.Images(t.Context()); err != nil || len(list) != 1 || list[0].ID != public.ID {
		t.Errorf("green sees %+v, %v, want the public one", list, err)
	}
	if err := green.DownloadImage(t.Context(), "ours", io.Discard); err != nil {
		t.Errorf("a public image cannot be read: %v", err)
	}
	if err := green.DeleteImage(t.Context(), "ours"); !errors.Is(err, cluster.ErrPermission) {
		t.Errorf("a tenant deletes a public image: %v", err)
	}
	if list, err := operator.Images(t.Context()); err != nil || len(list) != 3 {
		t.Errorf("the operator sees %d images, %v", len(list), err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestInstancesStartFromUploadedImages(t *testing.T) {
	a := apiservertest.NewCluster(t)
	blue := a.Client(a.Tenant(apiservertest.Blue))
	image := upload(t, blue, api.CreateImage{Name: "root"}, rootfs(t, "hello"))
	workload := sleeper("web")
	workload.Image, workload.Command = "root", nil
	if _, err := blue.CreateWorkload(t.Context(), workload); err != nil {
		t.Fatal(err)
	}
	if err := blue.DeleteImage(t.Context(), "root"); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "workload web") {
		t.Errorf("deleted under its workload: %v", err)
	}
	created, err := blue.CreateInstances(t.Context(), api.CreateInstances{Workload: "web", Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	active, err := blue.Wait(t.Context(), created, client.Active, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := blue.DeleteWorkload(t.Context(), "web"); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("deleted under its instance: %v", err)
	}

	for name, test := range map[string]struct {
		certificate string
		digest      string
		status      int
	}{
		"a user":        {a.Tenant(apiservertest.Blue), image.Digest, http.StatusUnauthorized},
		"an operator":   {a.Operator(), image.Digest, http.StatusUnauthorized},
		"another node":  {a.Node(), image.Digest, http.StatusForbidden},
		"what is not":   {a.Node(), digestOf(nil), http.StatusForbidden},
		"a controller":  {a.Daemon(), image.Digest, http.StatusUnauthorized},
		"a strange ref": {a.Node(), "etc", http.StatusForbidden},
	} {
		response := a.Get(test.certificate, api.BlobPath+test.digest)
		if response.StatusCode != test.status {
			t.Errorf("%s reads a blob: %s, want %d", name, response.Status, test.status)
		}
	}

	if _, err := blue.DeleteInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := blue.Wait(t.Context(), active, client.Deleted, nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(blue.DeleteWorkload(t.Context(), "web"), blue.DeleteImage(t.Context(), "root")); err != nil {
		t.Errorf("cannot be deleted when nothing uses it: %v", err)
	}
}

func TestImagesThatDoNotSuit(t *testing.T) {
	a := apiservertest.New(t)
	blue := a.Client(a.Tenant(apiservertest.Blue))
	upload(t, blue, api.CreateImage{Name: "disk"}, make([]byte, 4096))
	if _, err := blue.CreateImage(t.Context(), api.CreateImage{Name: "half", Bytes: 4096}); err != nil {
		t.Fatal(err)
	}
	for image, says := range map[string]string{"disk": "image disk is raw, from which no container starts; use one that is tar or docker-archive", "half": "is not complete"} {
		workload := sleeper("w-" + image)
		workload.Image = image
		if _, err := blue.CreateWorkload(t.Context(), workload); err != nil {
			t.Fatal(err)
		}
		_, err := blue.CreateInstances(t.Context(), api.CreateInstances{Workload: workload.Name})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", image, err, says)
		}
	}
}

func TestUploadEndsWithItsCaller(t *testing.T) {
	a := apiservertest.New(t)
	blue := a.Client(a.Tenant(apiservertest.Blue))
	if _, err := blue.CreateImage(t.Context(), api.CreateImage{Name: "root", Bytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		w.Write(make([]byte, 512))
		cancel()
	}()
	if _, err := blue.UploadImage(ctx, "root", 0, r); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want its end", err)
	}
	if err := blue.DeleteImage(t.Context(), "root"); err != nil {
		t.Errorf("an upload that was given up cannot be deleted: %v", err)
	}
}
