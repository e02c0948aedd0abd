package cli

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
)

// leaves yields all fields of a struct that are none themselves, by their names in JSON.
func leaves(at string, v reflect.Value, yield func(name string, field reflect.Value)) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if field := v.Field(i); field.Kind() == reflect.Struct {
			leaves(at+name+".", field, yield)
		} else {
			yield(at+name, field)
		}
	}
}

// set gives a field a value that is not its zero one.
func set(t *testing.T, field reflect.Value) {
	t.Helper()
	switch field.Kind() {
	case reflect.String:
		field.SetString("other")
	case reflect.Bool:
		field.SetBool(true)
	case reflect.Int, reflect.Int64:
		field.SetInt(7_000_000_000)
	case reflect.Float64:
		field.SetFloat(7)
	case reflect.Slice:
		field.Set(reflect.MakeSlice(field.Type(), 1, 1))
	case reflect.Map:
		field.Set(reflect.MakeMap(field.Type()))
		field.SetMapIndex(reflect.ValueOf("key"), reflect.ValueOf("value"))
	default:
		t.Fatalf("a field of kind %s: say here how it is set", field.Kind())
	}
}

// stored is a workload as the API shows it.
func stored(w api.CreateWorkload) (shown api.Workload) {
	from, to := reflect.ValueOf(w), reflect.ValueOf(&shown).Elem()
	for i := range from.NumField() {
		to.FieldByName(from.Type().Field(i).Name).Set(from.Field(i))
	}
	return shown
}

// Whatever a recipe says is compared, by its name in a file: a field that is added to recipes and not to the comparison fails here.
func TestEveryFieldOfAWorkloadIsCompared(t *testing.T) {
	plain := api.NewWorkload("w", cluster.Private, cluster.WorkloadSpec{})
	if got := differences(plain, stored(plain)); got != nil {
		t.Errorf("nothing differs, but for %v", got)
	}
	var names []string
	leaves("", reflect.ValueOf(cluster.WorkloadSpec{}), func(name string, _ reflect.Value) { names = append(names, name) })
	if len(names) < 20 || !slices.Contains(names, "requirements.labels") {
		t.Fatalf("the fields of a recipe: %v", names)
	}
	for _, name := range names {
		var spec cluster.WorkloadSpec
		leaves("", reflect.ValueOf(&spec).Elem(), func(other string, field reflect.Value) {
			if other == name {
				set(t, field)
			}
		})
		changed := api.NewWorkload("w", cluster.Private, spec)
		for _, pair := range []struct{ wanted, have api.CreateWorkload }{{changed, plain}, {plain, changed}} {
			if got := differences(pair.wanted, stored(pair.have)); !slices.Equal(got, []string{name}) {
				t.Errorf("another %s: %v", name, got)
			}
		}
	}
}
