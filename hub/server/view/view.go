// Package view holds the templ components of the Hub's web pages and the plain
// values that they show. It knows nothing of repositories or of HTTP.
//
// The pages need no script and load nothing from elsewhere. What people wrote is
// text here, except a model card and comments, which [Card.HTML] and [Event.HTML]
// hold after RenderCard or RenderComment has cleaned them.
package view

import (
	"embed"

	"github.com/a-h/templ"
)

// Static holds the style sheet and the icon, below "static".
//
//go:embed static
var Static embed.FS

// Page is what every page has.
type Page struct {
	Title string
	Root  string // path before all addresses of this server, without a slash at the end
	User  string // who is signed in; empty for nobody
}

// Fact is a term and its value.
type Fact struct{ Term, Value string }

// Device is the login of a program that waits for its user.
type Device struct {
	Page
	Code   string // that the program shows; empty: to be typed
	Rights string // what it would be let do
	Note   string // why there was no answer; empty for none
	Done   string // what the answer was; empty: not given yet
}

// Link is a text that leads somewhere.
type Link struct{ Text, Href string }

// List is a list of repos.
type List struct {
	Page
	Kind  string // models, datasets or spaces
	Query string // what was searched for
	Repos []RepoLine
	Next  string // address of the next page; empty on the last
}

// Collection is a list of repos that somebody made.
type Collection struct {
	Page
	Owner, Description string
	Private            bool
	Repos              []RepoLine
}

// RepoLine is a repo in a list.
type RepoLine struct {
	Name, Href string
	Private    bool
	Gated      bool
	Notes      []string // such as task, library and number of parameters
	Modified   string
}

// Repo is the head of every page about one repo.
type Repo struct {
	Kind     string // models, datasets or spaces
	Name     string
	Href     string // of its card
	Files    string // address of its files
	History  string // address of its commits
	Talks    string // address of its discussions
	Revision string
	Private  bool
	Gated    bool
	Tags     []string
}

// Card is the first page of a repo.
type Card struct {
	Page
	Repo  Repo
	HTML  string // the cleaned card; empty if there is none
	Note  string // why there is no card
	Facts []Fact
	Ways  []Way
}

// Way is one way to download a repo.
type Way struct{ Name, Commands string }

// Folder is the content of a folder.
type Folder struct {
	Page
	Repo    Repo
	Path    []Link
	Entries []Entry
	Next    string // address of the next page; empty on the last
}

// Entry is a line of a folder.
type Entry struct {
	Name, Href string
	Dir        bool
	Size       string
	Download   string // address; empty for a folder
	MayRun     bool   // Python may run what it holds
}

// File is one file.
type File struct {
	Page
	Repo     Repo
	Path     []Link
	Facts    []Fact
	Download string
	Text     string // its content, if it is short text
	Note     string // why no content is shown
	Warning  string // of loading it; empty for none
	Tensors  *Tensors
}

// Tensors is the header of a safetensors file.
type Tensors struct {
	Summary  string
	Rows     []Tensor
	Metadata []Fact
	Note     string // what is left out
}

// Tensor is a line of the table.
type Tensor struct{ Name, Type, Shape, Count string }

// History is a page of commits.
type History struct {
	Page
	Repo    Repo
	Commits []Commit
	Next    string // address of the next page; empty on the last
}

// Commit is a line of the history.
type Commit struct{ ID, Short, Title, Author, When, Href string }

// Talks is a page of discussions and pull requests.
type Talks struct {
	Page
	Repo    Repo
	Choices []Choice
	Lines   []TalkLine
	Next    string // address of the next page; empty on the last
}

// Choice is a link to a part of a list.
type Choice struct {
	Text, Href string
	Shown      bool // this part is shown
}

// TalkLine is a discussion in a list.
type TalkLine struct {
	Href, Title, Author, When string
	Number                    string // such as #3
	Kind                      string // Discussion or Pull request
	Status                    string // open, closed, draft or merged
	Comments                  string
}

// Talk is one discussion or pull request.
type Talk struct {
	Page
	Repo   Repo
	Line   TalkLine
	Base   string // branch that a pull request is for
	Events []Event
	Change *Change // of a pull request
}

// Event is something that happened in a discussion.
type Event struct {
	ID, Author, When string
	HTML             string // of a comment, cleaned; empty if it is no comment
	Edited           bool
	Text             string // what else happened
}

// Change is what a pull request does to the files.
type Change struct {
	Conflicts []string // files that both sides changed
	Files     []FileDiff
	Note      string // why there is nothing, or not all
}

// FileDiff is the change of one file.
type FileDiff struct {
	Name  string
	Lines []DiffLine
}

// DiffLine is a line of a diff; Kind is add, del, at or same.
type DiffLine struct{ Kind, Text string }

// Fault is a page that says what went wrong.
type Fault struct {
	Page
	Message string
}

// orModels is the kind of repos that a page's search looks for.
func orModels(kind string) string {
	if kind == "" {
		return "models"
	}
	return kind
}

// current marks the link to the page that is shown.
func current(shown bool) templ.Attributes {
	if shown {
		return templ.Attributes{"aria-current": "page"}
	}
	return nil
}
