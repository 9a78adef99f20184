// Package view holds the page's templ components and the plain values they show.
// It knows nothing of the model or of HTTP.
package view

// Page is everything the page shows before a prompt is sent.
type Page struct {
	Model    Model
	Examples []Example
	Domains  []string // choices of the domain hint; empty if the model names none
	Controls []Control
}

// Model is the card of the loaded model.
type Model struct {
	Name   string
	Routed bool // the model has a router, so there is routing to show
	Facts  []Fact
	Note   string // what a reader must know to judge what is shown; may be empty
}

// Fact is one line of the card.
type Fact struct{ Term, Value string }

// Example is a prompt that a click fills in.
type Example struct{ Domain, Prompt string }

// Control is a number field of the sampling settings. Name is the field's key in
// the request; an empty Value is not sent.
type Control struct{ Name, Label, Hint, Value, Min, Max, Step string }
