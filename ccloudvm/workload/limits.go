package workload

// Limits on what a workload file may ask of this process.
const (
	maxFile     = 1 << 20 // bytes of one workload file
	maxRendered = 4 << 20 // bytes that one document may expand to
	maxDepth    = 16      // files in a chain of inheritance
	maxNesting  = 64      // levels of a YAML document
	maxValues   = 200_000 // values in a YAML document once its aliases are followed
)
