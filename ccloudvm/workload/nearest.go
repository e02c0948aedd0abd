package workload

import (
	"cmp"
	"slices"
	"strings"
)

// Nearest returns the candidates that look like a misspelling of name, the nearest first, three at most.
func Nearest(name string, candidates []string) []string {
	type scored struct {
		name     string
		distance int
	}
	var near []scored
	for _, candidate := range candidates {
		d := distance(strings.ToLower(name), strings.ToLower(candidate))
		if strings.HasPrefix(candidate, name) && name != "" {
			d = min(d, 1)
		}
		if d <= max(2, len(name)/3) {
			near = append(near, scored{candidate, d})
		}
	}
	slices.SortStableFunc(near, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, s := range near[:min(len(near), 3)] {
		names = append(names, s.name)
	}
	return names
}

// didYouMean is the end of a sentence that offers the nearest names, or says which there are.
func didYouMean(name string, candidates []string) string {
	if near := Nearest(name, candidates); len(near) > 0 {
		return "did you mean " + strings.Join(near, " or ") + "?"
	}
	return "there are " + strings.Join(candidates, ", ")
}

// distance is the Levenshtein distance of two names, by the row-by-row method.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
