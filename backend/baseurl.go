package backend

import (
	"net/netip"
	"net/url"
)

// checkBaseURL refuses an address to which an admin key must not be sent.
func checkBaseURL(e *configEntry) error {
	if e.BaseURL == "" {
		return nil
	}
	u, err := url.Parse(e.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return badField("base_url", "is not an address; give one like https://gateway.example.com/v1")
	case u.User != nil:
		return badField("base_url", "holds a user or password; give the address alone, the admin key authenticates")
	case u.RawQuery != "" || u.Fragment != "":
		return badField("base_url", "holds a query or fragment; give the address up to its path")
	case u.Scheme == "http" && !isLoopback(u.Hostname()) && !e.AllowHTTP:
		return badField("base_url", "is without TLS, so the admin key could be read on its way; give https, or set allow_http=true")
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
