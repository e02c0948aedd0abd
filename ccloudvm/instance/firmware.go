package instance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/ccloudvm"
)

// Limits of a firmware image.
const (
	maxBIOS   = 64 << 20
	biosLimit = 5 * time.Minute
)

// bios copies the workload's firmware into the instance.
func (c *creation) bios(ctx context.Context) error {
	from := c.record.Spec.BIOS
	if from == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, biosLimit)
	defer cancel()
	r, err := openBIOS(ctx, from)
	if err != nil {
		return &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: fmt.Sprintf("the firmware %s cannot be read: %v", from, err), Cause: err}
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxBIOS+1))
	if err == nil && len(b) > maxBIOS {
		err = fmt.Errorf("it is larger than %d MiB", maxBIOS>>20)
	}
	if err != nil {
		return &ccloudvm.Error{Class: ccloudvm.ErrInvalid, Text: fmt.Sprintf("the firmware %s cannot be read: %v", from, err), Cause: err}
	}
	if err := writeFile(c.Layout.file(c.record.Name, biosFile), b); err != nil {
		return hostError("the firmware cannot be copied", err)
	}
	return nil
}

func openBIOS(ctx context.Context, from string) (io.ReadCloser, error) {
	if !strings.HasPrefix(from, "http://") && !strings.HasPrefix(from, "https://") {
		return os.Open(strings.TrimPrefix(from, "file://"))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("the server says %s", resp.Status)
	}
	return resp.Body, nil
}
