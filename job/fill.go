package job

import (
	"fmt"
	"reflect"
)

// newBody returns an empty struct for an operation's request.
func newBody(operation string) any {
	switch operation {
	case CreateAlgorithm:
		return &createAlgorithmInput{}
	case CreateModelPackage:
		return &createModelPackageInput{}
	case CreateTrainingJob:
		return &createTrainingJobRequest{}
	case CreateModel:
		return &createModelInput{}
	case CreateTransformJob:
		return &createTransformJobRequest{}
	}
	panic("job: no struct for " + operation) // a test goes through the table
}

// fill copies a tree whose types have been checked into a struct. Members that the struct does not have stay in the
// tree alone; a field whose name the model does not know is caught by a test.
func fill(dst any, n *Node) { fillValue(reflect.ValueOf(dst).Elem(), n) }

func fillValue(v reflect.Value, n *Node) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if m := n.Get(v.Type().Field(i).Name); m != nil {
				fillValue(v.Field(i), m)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items)))
		for i, it := range n.Items {
			if it.Kind != Null {
				fillValue(v.Index(i), it)
			}
		}
	case reflect.Map:
		m := reflect.MakeMapWithSize(v.Type(), len(n.Members))
		for _, e := range n.Members {
			m.SetMapIndex(reflect.ValueOf(e.Name), reflect.ValueOf(e.Value.Text))
		}
		v.Set(m)
	case reflect.String:
		v.SetString(n.Text)
	case reflect.Bool:
		v.SetBool(n.Text == "true")
	case reflect.Int64:
		if i, ok := wholeNumber(n.Text); ok {
			v.SetInt(i.Int64())
		}
	default:
		panic(fmt.Sprintf("job: field of type %s", v.Type()))
	}
}
