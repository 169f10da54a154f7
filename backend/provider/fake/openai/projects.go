package fakeopenai

import (
	"slices"
	"time"
)

// This file is projects (openai-go v3.95.0, adminorganizationproject.go). They
// can be archived but never deleted.

// A project is a part of the organization. Its lists only grow.
type project struct {
	id         string
	createdAt  time.Time
	archivedAt time.Time // zero while active
	accounts   []*account
	keys       []*key
}

func (s *Server) projectLocked(id string) *project {
	i := slices.IndexFunc(s.projects, func(p *project) bool { return p.id == id })
	if i < 0 {
		return nil
	}
	return s.projects[i]
}

// addProjectLocked returns the project of an id, and makes it if there is none.
func (s *Server) addProjectLocked(id string) *project {
	if p := s.projectLocked(id); p != nil {
		return p
	}
	p := &project{id: id, createdAt: s.clock().Truncate(time.Second)}
	s.projects = append(s.projects, p)
	return p
}

// openProjectLocked finds the project that a path names. What is in an archived
// one cannot be touched: "Archived projects cannot be used or updated" (OpenAPI
// spec 2.3.0).
func (s *Server) openProjectLocked(c *call) (*project, *refusal) {
	id := c.ids["project"]
	p := s.projectLocked(id)
	if p == nil {
		return nil, notFound("project", id)
	}
	if !p.archivedAt.IsZero() {
		return nil, badRequestCode("Project '"+id+"' is archived.", "", "project_archived")
	}
	return p, nil
}

// placeOf returns the place of a key in p.keys, or -1.
func (p *project) placeOf(s *Server) func(id string) int {
	return func(id string) int {
		if k := s.byID[id]; k != nil && k.project == p {
			return k.place
		}
		return -1
	}
}

func (p *project) shown() object {
	status := "active"
	if !p.archivedAt.IsZero() {
		status = "archived"
	}
	return object{
		{"id", p.id},
		{"object", "organization.project"},
		{"name", "Project " + p.id},
		{"created_at", p.createdAt.Unix()},
		{"archived_at", unix(p.archivedAt)},
		{"status", status},
	}
}

// listProjects is GET /v1/organization/projects.
func (s *Server) listProjects(c *call) (object, *refusal) {
	query, refused := c.listQuery("include_archived")
	if refused != nil {
		return nil, refused
	}
	archived, refused := oneOf(query, "include_archived", "false", "true")
	if refused != nil {
		return nil, refused
	}
	return page(c, query, s.projects, placeIn(s.projects), func(p *project) bool {
		return archived == "true" || p.archivedAt.IsZero()
	})
}

// getProject is GET /v1/organization/projects/{project}. Archived ones too.
func (s *Server) getProject(c *call) (object, *refusal) {
	if refused := c.plain(); refused != nil {
		return nil, refused
	}
	p := s.projectLocked(c.ids["project"])
	if p == nil {
		return nil, notFound("project", c.ids["project"])
	}
	return p.shown(), nil
}

// placeIn finds ids in short lists.
func placeIn[T item](items []T) func(id string) int {
	return func(id string) int {
		return slices.IndexFunc(items, func(it T) bool { return it.ident() == id })
	}
}
