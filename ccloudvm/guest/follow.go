package guest

import (
	"context"
	"fmt"
	"net"
)

// FollowProgress connects to the host's end of the progress channel, a unix socket that QEMU listens on, and reads reports until
// Finished. The guest's writers wait while nobody is connected once the channel's buffer is full, so connect early and stay.
func FollowProgress(ctx context.Context, socket string, report func(Report)) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("connecting to the progress channel: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err = ReadProgress(conn, report)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("the progress channel ended early: %w", err)
	}
	return nil
}
