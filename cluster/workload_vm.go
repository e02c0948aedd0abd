package cluster

func (s WorkloadSpec) validateVM(problems *Problems) {
	problems.Add("kind", "this cluster has no nodes that run workloads of kind %s yet; use container", s.Kind)
}
