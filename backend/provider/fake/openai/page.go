package fakeopenai

import "net/url"

// An item is what a list shows.
type item interface {
	ident() string
	shown() object
}

func (k *key) ident() string      { return k.ID }
func (a *account) ident() string  { return a.ID }
func (p *project) ident() string  { return p.id }
func (a *adminKey) ident() string { return a.ID }

// listQuery returns the query of a list: limit, after, and what else it allows.
func (c *call) listQuery(more ...string) (url.Values, *refusal) {
	if refused := c.noBody(); refused != nil {
		return nil, refused
	}
	query, refused := c.query(append(more, "limit", "after")...)
	if refused != nil {
		return nil, refused
	}
	if query.Has("after") && query.Get("after") == "" {
		return nil, badRequest("Invalid 'after': empty string.", "after")
	}
	_, refused = limit(query)
	return query, refused
}

// plain refuses a query and a body, for what takes neither.
func (c *call) plain() *refusal {
	if refused := c.noBody(); refused != nil {
		return refused
	}
	_, refused := c.query()
	return refused
}

// page is one page of items, oldest first. Items are never removed from a list,
// only hidden: a cursor stays good when its item is deleted, and what is made
// while a client pages comes at the end. placeOf returns the place of an id in
// items, or -1.
func page[T item](c *call, query url.Values, items []T, placeOf func(string) int, shows func(T) bool) (object, *refusal) {
	size, refused := limit(query)
	if refused != nil {
		return nil, refused
	}
	if c.knobs.PageSizeCap > 0 {
		size = min(size, c.knobs.PageSizeCap)
	}
	start := 0
	if after := query.Get("after"); after != "" {
		place := placeOf(after)
		if place < 0 {
			return nil, badRequestCode("Invalid 'after': no such object in this list.", "after", "invalid_value")
		}
		start = place + 1
	}
	data, more := []any{}, false
	var first, last any
	for _, it := range items[start:] {
		if !shows(it) {
			continue
		}
		if len(data) == size {
			more = true
			break
		}
		data, last = append(data, it.shown()), it.ident()
		if len(data) == 1 {
			first = last
		}
	}
	if more && c.knobs.LastIDNull {
		last = nil
	}
	return object{
		{"object", "list"}, {"data", data}, {"first_id", first}, {"last_id", last}, {"has_more", more},
	}, nil
}
