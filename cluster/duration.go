package cluster

import (
	"bytes"
	"fmt"
	"time"
)

// Duration is a time.Duration that documents write as Go does (10s, 1m30s).
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes Go's form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads Go's form.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 10s or 1m30s", text)
	}
	*d = Duration(value)
	return nil
}

// UnmarshalYAML reads Go's form.
func (d *Duration) UnmarshalYAML(text []byte) error {
	return d.UnmarshalText(bytes.Trim(bytes.TrimSpace(text), `"'`))
}
