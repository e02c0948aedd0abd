package cli

import (
	"fmt"

	urfave "github.com/urfave/cli/v2"
)

// The scripts ask the program itself what can follow, so they never grow old.
const (
	bashCompletion = `_ccloudvm() {
  local words=("${COMP_WORDS[@]:0:$COMP_CWORD}")
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _ccloudvm ccloudvm
`
	zshCompletion = `#compdef ccloudvm
_ccloudvm() {
  local -a options
  options=("${(@f)$(${words[1,$((CURRENT-1))]} --generate-bash-completion 2>/dev/null)}")
  _describe 'ccloudvm' options
}
compdef _ccloudvm ccloudvm
`
)

func (c *command) completion() *urfave.Command {
	return &urfave.Command{
		Name: "completion", Usage: "print a completion script: source <(ccloudvm completion bash)", ArgsUsage: "bash|zsh|fish",
		Action: func(ctx *urfave.Context) error {
			switch shell := ctx.Args().First(); shell {
			case "bash":
				fmt.Fprint(c.streams.Out, bashCompletion)
			case "zsh":
				fmt.Fprint(c.streams.Out, zshCompletion)
			case "fish":
				script, err := ctx.App.ToFishCompletion()
				if err != nil {
					return err
				}
				fmt.Fprint(c.streams.Out, script)
			default:
				return usage(fmt.Sprintf("there is completion for bash, zsh and fish, and not for %q", shell))
			}
			return nil
		},
	}
}

// completeInstances offers the names of the instances.
func (c *command) completeInstances(ctx *urfave.Context) {
	m, err := c.manager()
	if err != nil {
		return
	}
	names, _ := m.Names()
	for _, name := range names {
		fmt.Fprintln(c.streams.Out, name)
	}
}

// completeWorkloads offers the names of the workloads.
func (c *command) completeWorkloads(ctx *urfave.Context) {
	m, err := c.manager()
	if err != nil {
		return
	}
	for _, name := range m.Workloads.Names() {
		fmt.Fprintln(c.streams.Out, name)
	}
}
