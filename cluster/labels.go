package cluster

// Bounds of labels, in bytes where they are of text.
const (
	MaxLabels     = 64
	MaxLabelKey   = 63
	MaxLabelValue = 255
)

// AddLabels adds a problem for each label that is outside the bounds; path is where the labels are in the document.
func (p *Problems) AddLabels(path string, labels map[string]string) {
	if len(labels) > MaxLabels {
		p.Add(path, "must be at most %d", MaxLabels)
	}
	for key, value := range labels {
		if !validLabel(key, value) {
			p.Add(path+"."+key, "must have a key of 1 to %d bytes and a value of at most %d", MaxLabelKey, MaxLabelValue)
		}
	}
}

// BoundedLabels is a copy of the labels without those that are outside the bounds, and nil if there are too many: what another machine
// says of itself must not fill the store.
func BoundedLabels(labels map[string]string) map[string]string {
	if len(labels) == 0 || len(labels) > MaxLabels {
		return nil
	}
	kept := make(map[string]string, len(labels))
	for key, value := range labels {
		if validLabel(key, value) {
			kept[key] = value
		}
	}
	return kept
}

// Labelled says whether labels have everything that is wanted of them.
func Labelled(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if have, found := labels[key]; !found || have != value {
			return false
		}
	}
	return true
}

func validLabel(key, value string) bool {
	return key != "" && len(key) <= MaxLabelKey && len(value) <= MaxLabelValue
}
