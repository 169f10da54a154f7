package litellm

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

// This file reads lists to their end. LiteLLM pages by number: whatever is deleted
// while a client reads moves what follows to the front, and a page later it has been
// missed. A key that is missed is a key that nobody deletes. So each page overlaps
// with the one before: its size, which the client chooses, is such that it begins at
// an item that is known. One that begins with anything that was not seen yet is
// left, and the list read again from further in front.
//
// A page of keys with much metadata may be longer than what is read of an answer: then
// fewer are asked for, until the list ends.
//
// The keys are listed by their ids, which do not change and are no two the same. A
// proxy that is too old to sort lists the newest first, which does as well.

var opListKeys = operation{name: "list keys", method: http.MethodGet, path: "/key/list"}

const (
	// pageSize is the most that LiteLLM lists at once.
	pageSize = 100
	// maxIdle bounds the pages without anything new, or as many items in smaller ones,
	// in case a list never ends or changes faster than it is read.
	maxIdle = 20
)

// A page is some keys of a list, and how many there are in all, if LiteLLM says so.
type page struct {
	Keys  *[]*key `json:"keys"`
	Total *int    `json:"total_count"`
}

// makesSense reports whether every key has an id.
func (p *page) makesSense() bool {
	if p.Keys == nil {
		return false
	}
	for _, k := range *p.Keys {
		if k == nil || k.Token == "" {
			return false
		}
	}
	return true
}

// window returns the size and the number of the page that holds the last item known
// and goes furthest beyond it, and the index that it begins with. Small pages of all
// sizes may end with that item: then it is the page that follows.
func window(known, most int) (size, number, start int) {
	item, end := max(0, known-1), known
	size, number, start = most, known/most+1, known
	for s := most; s > most/2; s-- {
		if n := item / s; (n+1)*s > end {
			size, number, start, end = s, n+1, n*s, (n+1)*s
		}
	}
	return size, number, start
}

// A reading is a list that is being read.
type reading struct {
	*client
	op     operation
	filter url.Values
	seen   map[string]bool
	known  int  // so many items in front are known
	most   int  // as many are asked for at once
	idle   int  // so many were asked for since the last that was new
	ended  bool // nothing follows
}

// keys yields the keys of all pages, each once, which are fetched as the loop goes
// on. An error is yielded once and last.
func (c *client) keys(ctx context.Context, op operation, filter url.Values) iter.Seq2[key, error] {
	return func(yield func(key, error) bool) {
		r := &reading{client: c, op: op, filter: filter, seen: map[string]bool{}, most: pageSize}
		for !r.ended && r.idle < maxIdle*pageSize {
			fresh, err := r.next(ctx)
			if err != nil {
				yield(key{}, err)
				return
			}
			for _, k := range fresh {
				if !yield(k, nil) {
					return
				}
			}
		}
		if !r.ended {
			yield(key{}, unproven(op, "the list does not end, or changes faster than it can be read"))
		}
	}
}

// next fetches a page, and returns what is new in it.
func (r *reading) next(ctx context.Context) ([]key, error) {
	size, number, start := window(r.known, r.most)
	got, cut, err := r.page(ctx, r.op, r.filter, number, size)
	switch {
	case cut && r.most > 1: // more than is read of an answer
		r.most /= 2
		return nil, nil
	case err != nil:
		return nil, err
	}
	r.idle += size
	items := *got.Keys
	if joins, err := r.joins(ctx, start, items); err != nil || !joins {
		r.known = max(0, start-pageSize)
		return nil, err
	}
	fresh := r.fresh(items)
	if len(fresh) > 0 {
		r.idle = 0
	}
	r.ended = got.last(start, size, r.known)
	r.known = start + len(items)
	return fresh, nil
}

// joins reports whether a page begins at an item that is known, or right behind one.
// What it is behind is asked for after it: whatever is deleted before that shows.
func (r *reading) joins(ctx context.Context, start int, items []*key) (bool, error) {
	switch {
	case start == 0:
		return true, nil
	case start < r.known:
		return len(items) > 0 && r.seen[items[0].Token], nil
	}
	before, _, err := r.page(ctx, r.op, r.filter, start, 1)
	if err != nil {
		return false, err
	}
	items = *before.Keys
	return len(items) > 0 && r.seen[items[0].Token], nil
}

// fresh returns the items that were not seen before.
func (r *reading) fresh(items []*key) []key {
	var fresh []key
	for _, k := range items {
		if !r.seen[k.Token] {
			r.seen[k.Token] = true
			fresh = append(fresh, *k)
		}
	}
	return fresh
}

// last reports whether nothing follows a page that begins at start: it holds nothing
// behind what was known, or fewer keys than it could. The count of the whole list,
// if there is one, must agree; a page's length alone is not believed.
func (p *page) last(start, size, known int) bool {
	end := start + len(*p.Keys)
	if p.Total != nil {
		return *p.Total <= end && len(*p.Keys) < size || *p.Total <= end && end <= known
	}
	return end <= known || end == 0
}

// page fetches one page. It also reports whether its answer breaks off.
func (c *client) page(ctx context.Context, op operation, filter url.Values, number, size int) (*page, bool, error) {
	query := maps.Clone(filter)
	if query == nil {
		query = url.Values{}
	}
	query.Set("page", strconv.Itoa(number))
	query.Set("size", strconv.Itoa(size))
	query.Set("return_full_object", "true")
	query.Set("sort_by", "token")
	query.Set("sort_order", "asc")
	got, words, err := inWords(ctx, c, op, query, nil, (*page).makesSense)
	return got, words.cut, err
}
