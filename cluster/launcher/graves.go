package launcher

// graves remembers instances that were deleted not long ago, so that a start that was overtaken by its delete raises nothing.
type graves struct {
	generation map[string]uint64
	order      []string // oldest first
}

const maxGraves = 4096

func newGraves() *graves { return &graves{generation: map[string]uint64{}} }

func (g *graves) dig(instance string, generation uint64) {
	if before, found := g.generation[instance]; found {
		g.generation[instance] = max(before, generation)
		return
	}
	if len(g.order) == maxGraves {
		delete(g.generation, g.order[0])
		g.order = g.order[1:]
	}
	g.generation[instance] = generation
	g.order = append(g.order, instance)
}

// covers says whether that generation of the instance has been deleted.
func (g *graves) covers(instance string, generation uint64) bool {
	deleted, found := g.generation[instance]
	return found && generation <= deleted
}
