package fakeopenai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// An object is a JSON object whose members have an order. A list in it is []any.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON keeps the order of the members.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Fprintf(&b, "%q:%s", m.name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// unix is a time as OpenAI writes it; null for the zero time.
func unix(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Unix()
}

// spoilObject applies a corruption that concerns members, at every depth.
func spoilObject(o object, how Corruption) object {
	switch how {
	case NoID:
		return without(o, "id")
	case NoSecret:
		return without(o, "value")
	case NullFields:
		return mapMembers(o, func(name string, value any) any {
			switch name {
			case "id", "value", "created_at", "expires_at":
				return nil
			}
			return value
		})
	case WrongTypes:
		return mapMembers(o, func(_ string, value any) any { return otherType(value) })
	default: // the rest concern bytes
		return o
	}
}

func without(o object, name string) object {
	o = mapMembers(o, func(_ string, value any) any { return value })
	o = slices.DeleteFunc(o, func(m member) bool { return m.name == name })
	for i, m := range o {
		switch v := m.value.(type) {
		case object:
			o[i].value = without(v, name)
		case []any:
			for j, item := range v {
				if inner, ok := item.(object); ok {
					v[j] = without(inner, name)
				}
			}
		}
	}
	return o
}

// mapMembers returns a copy of o with every value that is not an object or a
// list of objects replaced by what f makes of it.
func mapMembers(o object, f func(name string, value any) any) object {
	out := make(object, len(o))
	for i, m := range o {
		switch v := m.value.(type) {
		case object:
			m.value = mapMembers(v, f)
		case []any:
			items := make([]any, len(v))
			for j, item := range v {
				items[j] = item
				if inner, ok := item.(object); ok {
					items[j] = mapMembers(inner, f)
				}
			}
			m.value = items
		default:
			m.value = f(m.name, m.value)
		}
		out[i] = m
	}
	return out
}

func otherType(value any) any {
	switch v := value.(type) {
	case string:
		return object{{"text", v}}
	case int64, int:
		return "the day after tomorrow"
	case bool:
		return "perhaps"
	}
	return value
}

// grease makes answers differ from each other in all that a decoder has no right
// to rely on: unknown members, the order of members, further headers. It is the
// same for the n-th request of every server.
type grease struct{ *rand.Rand }

func newGrease(seq int) grease { return grease{rand.New(rand.NewPCG(uint64(seq), 0x9e3779b9))} }

// object returns a shuffled copy of o with members that nobody documented.
func (g grease) object(o object) object {
	out := make(object, 0, len(o)+2)
	for _, m := range o {
		switch v := m.value.(type) {
		case object:
			m.value = g.object(v)
		case []any:
			items := make([]any, len(v))
			for i, item := range v {
				items[i] = item
				if inner, ok := item.(object); ok {
					items[i] = g.object(inner)
				}
			}
			m.value = items
		}
		out = append(out, m)
	}
	for range g.IntN(3) {
		out = append(out, member{fmt.Sprintf("x_grease_%04x", g.IntN(1<<16)), g.value()})
	}
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (g grease) value() any {
	values := []any{
		nil, true, g.Int64(), -0.5, "", "né \u2028 \"quoted\" \\",
		[]any{},
		[]any{1, "two", nil},
		object{},
		object{{"id", "grease_id"}, {"value", nil}, {"expires_at", "never"}},
	}
	return values[g.IntN(len(values))]
}

// commonHeaders sets what every answer carries, and some headers that it may.
func (c *call) commonHeaders(h http.Header) {
	h.Set("X-Request-Id", c.log.ID) // does not change after admit
	h.Set("Openai-Version", "2020-10-01")
	if c.knobs.NoGrease {
		return
	}
	g := newGrease(-c.seq)
	if g.IntN(2) == 0 {
		h.Set("Openai-Processing-Ms", fmt.Sprint(g.IntN(900)))
	}
	if g.IntN(2) == 0 {
		h.Set("Alt-Svc", `h3=":443"; ma=86400`)
	}
	h.Set(fmt.Sprintf("X-Grease-%04x", g.IntN(1<<16)), "grease")
}
