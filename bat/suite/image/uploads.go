package image

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/ciaocloud/ciao/bat"
	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

func life(ctx context.Context, t *bat.T) {
	tenant, data := t.Tenant(ctx), random(10)
	path := file(t, "disk.raw", data)
	before, err := tenant.API.Images(ctx)
	t.Need(err, "list images")
	_, err = t.Cluster.Operator.UpdateQuota(ctx, tenant.ID, api.UpdateQuota{Limits: map[string]string{api.QuotaImages: "1"}})
	t.Need(err, "set the quota of images")
	var made, shown api.Image
	t.Ciao(ctx, tenant.ID, "create", "image", "disk", "--file", path, "--digest", digestOf(data), "-o", "json").JSON(t, "create image", &made)
	t.Ciao(ctx, tenant.ID, "show", "image", "disk", "-o", "json").JSON(t, "show image", &shown)
	if size := int64(len(data)); shown != made || made.Digest != digestOf(data) || made.Bytes != size || made.Uploaded != size || made.DiskBytes != size ||
		made.Format != cluster.FormatRaw || made.State != cluster.ImageActive || made.Visibility != cluster.Private || made.Tenant != tenant.ID {
		t.Errorf("the image is created as %+v and shown as %+v", made, shown)
	}
	after, err := tenant.API.Images(ctx)
	t.Need(err, "list images")
	if len(after) != len(before)+1 {
		t.Errorf("%d images are listed, and %d were before", len(after), len(before))
	}
	var got bytes.Buffer
	t.Need(tenant.API.DownloadImage(ctx, "disk", &got), "download the image")
	if digestOf(got.Bytes()) != made.Digest {
		t.Errorf("the download of %d bytes is another file", got.Len())
	}
	t.Ciao(ctx, tenant.ID, "create", "image", "more", "--file", path).Refuses(t, "more than the quota", 6, "images")
	if used := tenant.Usage(ctx)[api.QuotaImages]; used != 1 {
		t.Errorf("%g images are counted, expected 1", used)
	}
	t.Ciao(ctx, tenant.ID, "delete", "image", "disk").Works(t, "delete image")
	t.Ciao(ctx, tenant.ID, "show", "image", "disk").Refuses(t, "a deleted image", 3, "disk")
	t.Ciao(ctx, tenant.ID, "delete", "image", "disk").Refuses(t, "delete of what is not there", 3, "disk")
	if used := tenant.Usage(ctx)[api.QuotaImages]; used != 0 {
		t.Errorf("%g images are counted after the delete", used)
	}
}

func resume(ctx context.Context, t *bat.T) {
	tenant, data := t.Tenant(ctx), random(2)
	const part = 700_000
	_, err := tenant.API.CreateImage(ctx, api.CreateImage{Name: "cut", Bytes: int64(len(data)), Digest: digestOf(data)})
	t.Need(err, "create an image")
	half, err := tenant.API.UploadImage(ctx, "cut", 0, bytes.NewReader(data[:part]))
	t.Need(err, "upload a part")
	if half.Uploaded != part || half.State != cluster.ImageUploading {
		t.Errorf("after a part of %d bytes the image is %+v", part, half)
	}
	if _, err := tenant.API.UploadImage(ctx, "cut", 5, bytes.NewReader(data[5:])); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "700000") {
		t.Errorf("an upload at a wrong offset: %v, expected a conflict that names the right one", err)
	}
	if _, err := tenant.API.CreateVolume(ctx, api.CreateVolume{Name: "early", Image: "cut"}); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("a volume of half an image: %v, expected a conflict", err)
	}
	var whole api.Image
	t.Ciao(ctx, tenant.ID, "create", "image", "cut", "--file", file(t, "disk.raw", data), "-o", "json").JSON(t, "go on with the upload", &whole)
	if whole.ID != half.ID || whole.State != cluster.ImageActive || whole.Digest != digestOf(data) {
		t.Errorf("the upload ended as %+v", whole)
	}
	if _, err := tenant.API.UploadImage(ctx, "cut", 0, bytes.NewReader(data)); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("an upload to an active image: %v, expected a conflict", err)
	}
}

func refusals(ctx context.Context, t *bat.T) {
	tenant, right := t.Tenant(ctx), random(1)
	wrong := bytes.Clone(right)
	wrong[1]++
	t.Ciao(ctx, tenant.ID, "create", "image", "x", "--file", file(t, "wrong", wrong), "--digest", digestOf(right)).Refuses(t, "a file of another digest", 2, "damaged")
	if all, err := tenant.API.Images(ctx); err != nil || len(own(all, tenant.ID)) != 0 {
		t.Errorf("what was refused before anything was sent has left %+v, %v", own(all, tenant.ID), err)
	}
	for name, bad := range map[string]struct {
		content []byte
		says    string
	}{
		"cut":        {qcow2(false), "cut off"},
		"overlay":    {qcow2(true), "overlay"},
		"compressed": {append([]byte("\x1f\x8b"), right...), "gunzip"},
		"odd":        {right[:1000], "sectors"},
	} {
		t.Ciao(ctx, tenant.ID, "create", "image", name, "--file", file(t, name, bad.content)).Refuses(t, name, 2, bad.says)
		image, err := tenant.API.Image(ctx, name)
		t.Need(err, "show image %s", name)
		if image.State != cluster.ImageUploading || image.Uploaded != 0 || !strings.Contains(image.Reason, bad.says) {
			t.Errorf("%s: the refused image is %+v", name, image)
		}
	}
	_, err := tenant.API.CreateImage(ctx, api.CreateImage{Name: "sent", Bytes: int64(len(right)), Digest: digestOf(right)})
	t.Need(err, "create an image")
	if _, err := tenant.API.UploadImage(ctx, "sent", 0, bytes.NewReader(wrong)); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("a content that was damaged on its way: %v, expected invalid", err)
	}
	now, err := tenant.API.UploadImage(ctx, "sent", 0, bytes.NewReader(right))
	t.Need(err, "upload the right content after a wrong one")
	if now.State != cluster.ImageActive || now.Reason != "" {
		t.Errorf("after the right content the image is %+v", now)
	}
}

func own(all []api.Image, tenant string) (found []api.Image) {
	for _, image := range all {
		if image.Tenant == tenant {
			found = append(found, image)
		}
	}
	return found
}
