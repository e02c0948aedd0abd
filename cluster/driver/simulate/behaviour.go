package simulate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ciaocloud/ciao/cluster"
)

// behaviour is what an instance's command makes it do.
type behaviour struct {
	exits    bool
	code     int
	after    time.Duration
	stubborn bool
}

// parse reads a command of the package's small language; its words may be one argument or several.
func parse(command []string) (behaviour, error) {
	words := strings.Fields(strings.Join(command, " "))
	var (
		b   behaviour
		err error
	)
	switch {
	case len(words) == 0:
	case strings.Join(words, " ") == "ignore stop":
		b.stubborn = true
	case words[0] == "exit" && (len(words) == 2 || len(words) == 4 && words[2] == "after"):
		b.exits = true
		if b.code, err = strconv.Atoi(words[1]); err == nil && len(words) == 4 {
			b.after, err = time.ParseDuration(words[3])
		}
	default:
		err = fmt.Errorf("use `exit N`, `exit N after D`, `ignore stop`, or no command")
	}
	if err != nil {
		return b, fmt.Errorf("simulated command %q: %w: %w", command, cluster.ErrInvalid, err)
	}
	return b, nil
}
