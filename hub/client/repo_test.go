package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestCalls compares each call with its row of the protocol: method, path, body.
func TestCalls(t *testing.T) {
	yes := true
	space := Setting{Key: "K", Value: "V"}
	cases := []struct {
		name string
		do   func(context.Context, *Client) error
		want string // method, path and body
	}{
		{"create", func(ctx context.Context, c *Client) error {
			_, err := c.CreateRepo(ctx, Repo{Dataset, "acme/d"}, CreateOptions{Private: true})
			return err
		}, `POST /api/repos/create {"name":"d","organization":"acme","private":true,"type":"dataset","visibility":"private"}`},
		{"create bare", func(ctx context.Context, c *Client) error {
			_, err := c.CreateRepo(ctx, Repo{ID: "m"}, CreateOptions{})
			return err
		}, `POST /api/repos/create {"name":"m","organization":null,"private":false,"type":"model","visibility":"public"}`},
		{"create Space", func(ctx context.Context, c *Client) error {
			_, err := c.CreateRepo(ctx, Repo{Space, "a/s"}, CreateOptions{SDK: "docker", Hardware: "cpu", Secrets: []Setting{space}})
			return err
		}, `POST /api/repos/create {"hardware":"cpu","name":"s","organization":"a","private":false,"sdk":"docker","secrets":[{"key":"K","value":"V"}],"type":"space","visibility":"public"}`},
		{"delete", func(ctx context.Context, c *Client) error { return c.DeleteRepo(ctx, Repo{Space, "a/s"}) },
			`DELETE /api/repos/delete {"name":"s","organization":"a","type":"space"}`},
		{"move", func(ctx context.Context, c *Client) error { return c.MoveRepo(ctx, repoM, "b/n") },
			`POST /api/repos/move {"fromRepo":"acme/m","toRepo":"b/n","type":"model"}`},
		{"duplicate", func(ctx context.Context, c *Client) error { _, err := c.Duplicate(ctx, repoM, "b/n", true); return err },
			`POST /api/models/acme/m/duplicate {"private":true,"repository":"b/n"}`},
		{"settings", func(ctx context.Context, c *Client) error {
			return c.SetRepo(ctx, repoM, RepoSettings{Private: &yes, Gated: "none"})
		}, `PUT /api/models/acme/m/settings {"gated":false,"private":true,"visibility":"private"}`},
		{"branch", func(ctx context.Context, c *Client) error { return c.CreateBranch(ctx, repoM, "a/b", "v1") },
			`POST /api/models/acme/m/branch/a%2Fb {"startingPoint":"v1"}`},
		{"delete branch", func(ctx context.Context, c *Client) error { return c.DeleteBranch(ctx, repoM, "b") },
			`DELETE /api/models/acme/m/branch/b `},
		{"tag", func(ctx context.Context, c *Client) error { return c.CreateTag(ctx, repoM, "v1", "", "text") },
			`POST /api/models/acme/m/tag/main {"message":"text","tag":"v1"}`},
		{"delete tag", func(ctx context.Context, c *Client) error { return c.DeleteTag(ctx, repoM, "v1") },
			`DELETE /api/models/acme/m/tag/v1 `},
		{"squash", func(ctx context.Context, c *Client) error { return c.SuperSquash(ctx, repoM, "refs/pr/1", "m") },
			`POST /api/models/acme/m/super-squash/refs%2Fpr%2F1 {"message":"m"}`},
		{"refs", func(ctx context.Context, c *Client) error { _, err := c.Refs(ctx, repoM); return err },
			`GET /api/models/acme/m/refs?include_prs=1 `},
		{"discuss", func(ctx context.Context, c *Client) error {
			_, err := c.CreateDiscussion(ctx, repoM, "t", "d", true)
			return err
		}, `POST /api/models/acme/m/discussions {"description":"d","pullRequest":true,"title":"t"}`},
		{"discussion", func(ctx context.Context, c *Client) error { _, err := c.Discussion(ctx, repoM, 3); return err },
			`GET /api/models/acme/m/discussions/3?diff=1 `},
		{"comment", func(ctx context.Context, c *Client) error { return c.Comment(ctx, repoM, 3, "x") },
			`POST /api/models/acme/m/discussions/3/comment {"comment":"x"}`},
		{"retitle", func(ctx context.Context, c *Client) error { return c.Retitle(ctx, repoM, 3, "x") },
			`POST /api/models/acme/m/discussions/3/title {"title":"x"}`},
		{"close", func(ctx context.Context, c *Client) error { return c.SetStatus(ctx, repoM, 3, "closed", "") },
			`POST /api/models/acme/m/discussions/3/status {"status":"closed"}`},
		{"merge", func(ctx context.Context, c *Client) error { return c.Merge(ctx, repoM, 3, "") },
			`POST /api/models/acme/m/discussions/3/merge {}`},
		{"secret", func(ctx context.Context, c *Client) error { return c.SetSecret(ctx, "a/s", space) },
			`POST /api/spaces/a/s/secrets {"key":"K","value":"V"}`},
		{"delete secret", func(ctx context.Context, c *Client) error { return c.DeleteSecret(ctx, "a/s", "K") },
			`DELETE /api/spaces/a/s/secrets {"key":"K"}`},
		{"variable", func(ctx context.Context, c *Client) error { return c.SetVariable(ctx, "a/s", space) },
			`POST /api/spaces/a/s/variables {"key":"K","value":"V"}`},
		{"delete variable", func(ctx context.Context, c *Client) error { return c.DeleteVariable(ctx, "a/s", "K") },
			`DELETE /api/spaces/a/s/variables {"key":"K"}`},
		{"hardware", func(ctx context.Context, c *Client) error {
			_, err := c.SetHardware(ctx, "a/s", "t4", time.Hour)
			return err
		}, `POST /api/spaces/a/s/hardware {"flavor":"t4","sleepTimeSeconds":3600}`},
		{"pause", func(ctx context.Context, c *Client) error { _, err := c.PauseSpace(ctx, "a/s"); return err },
			`POST /api/spaces/a/s/pause `},
		{"restart", func(ctx context.Context, c *Client) error { _, err := c.RestartSpace(ctx, "a/s", true); return err },
			`POST /api/spaces/a/s/restart?factory=true `},
		{"runtime", func(ctx context.Context, c *Client) error { _, err := c.SpaceRuntime(ctx, "a/s"); return err },
			`GET /api/spaces/a/s/runtime `},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			h := newFake(t)
			h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
				body, _ := io.ReadAll(r.Body)
				got = append(got, r.Method+" "+r.URL.RequestURI()+" "+string(body))
				answer(w, map[string]any{})
				return w, true
			}
			if err := tc.do(t.Context(), h.client(nil)); err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0] != tc.want {
				t.Errorf("sent %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestCreateWhatExists(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1"})
	c := h.client(nil)
	if _, err := c.CreateRepo(t.Context(), repoM, CreateOptions{}); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if address, err := c.CreateRepo(t.Context(), repoM, CreateOptions{ExistOK: true}); err != nil || address != h.srv.URL+"/acme/m" {
		t.Error(address, err)
	}
	h.fault = times(1, isMethod("POST", "/create"), func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusForbidden, "", "") })
	if address, err := c.CreateRepo(t.Context(), repoM, CreateOptions{ExistOK: true}); err != nil || address != h.srv.URL+"/acme/m" {
		t.Error(address, err)
	}
	if _, err := c.CreateRepo(t.Context(), Repo{Space, "a/s"}, CreateOptions{}); err == nil || !strings.Contains(err.Error(), "needs an SDK") {
		t.Error(err)
	}
}

func TestAnswersAreRead(t *testing.T) {
	bodies := map[string]string{
		"/api/whoami-v2":                  `{"type":"user","name":"alice","orgs":[{"name":"acme","roleInOrg":"admin"}],"auth":{"accessToken":{"role":"write"}}}`,
		"/api/models/acme/m/refs":         `{"branches":[{"name":"main","ref":"refs/heads/main","targetCommit":"c"}],"tags":[],"pullRequests":[{"ref":"refs/pr/1"}]}`,
		"/api/models/acme/m/commits/main": `[{"id":"c","title":"t","authors":[{"user":"u"}],"date":"2026-01-02T03:04:05.000Z"},{"id":"d"}]`,
		"/api/models/acme/m/discussions":  `{"discussions":[{"num":1,"isPullRequest":true,"author":{"name":"u"}}],"count":1}`,
		"/api/spaces/a/s/runtime":         `{"stage":"BUILD_ERROR","hardware":{"current":null,"requested":"cpu-basic"},"gcTimeout":172800,"errorMessage":"no"}`,
		"/api/spaces/a/s/variables":       `{"K":{"key":"K","value":"V","updatedAt":"2026-01-02T03:04:05.000Z"}}`,
		"/api/spaces/a/s/secrets":         `{"K":{"key":"K"}}`,
		"/api/models":                     `[{"id":"a/b","gated":"auto","likes":3},{"id":"c"}]`,
	}
	h := newFake(t)
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		_, _ = io.WriteString(w, bodies[r.URL.Path])
		return w, true
	}
	c, ctx := h.client(nil), t.Context()
	user, err := c.Whoami(ctx)
	must(t, err)
	refs, err := c.Refs(ctx, repoM)
	must(t, err)
	commits, err := c.Commits(ctx, repoM, "", 1)
	must(t, err)
	discussions, err := c.Discussions(ctx, repoM, "")
	must(t, err)
	run, err := c.WaitSpace(ctx, "a/s", nil)
	must(t, err)
	variables, err := c.Variables(ctx, "a/s")
	must(t, err)
	secrets, err := c.Secrets(ctx, "a/s")
	must(t, err)
	list, err := c.List(ctx, "model", url.Values{"search": {"x"}}, 0)
	must(t, err)
	got, _ := json.Marshal([]any{
		user.Name, user.Orgs[0].Name, user.Auth.AccessToken.Role, refs.Branches[0].Commit, refs.PullRequests[0].Ref, len(commits), commits[0].Title,
		commits[0].Date.Unix(), discussions[0].PullRequest, discussions[0].Author.Name, run.Stage, run.ErrorMessage, run.Settled(),
		variables["K"].Value, secrets["K"].Key, len(list), list[0].Gated,
	})
	want := `["alice","acme","write","c","refs/pr/1",1,"t",1767323045,true,"u","BUILD_ERROR","no",true,"V","K",2,"auto"]`
	if string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestSpaceLogs(t *testing.T) {
	h := newFake(t)
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		_, _ = io.WriteString(w, ": keep\n\ndata: {\"data\":\"one\\n\",\"timestamp\":\"x\"}\n\ndata: nonsense\n\ndata: {\"data\":\"two\\n\"}\n\n")
		return w, true
	}
	var b bytes.Buffer
	if err := h.client(nil).SpaceLogs(t.Context(), "a/s", true, &b); err != nil || b.String() != "one\ntwo\n" || h.count("GET", "/logs/build") != 1 {
		t.Errorf("%q %v %v", b.String(), err, h.calls)
	}
}

// TestPOSTIsNotRepeatedBlindly: what may have been done is not done again.
func TestPOSTIsNotRepeatedBlindly(t *testing.T) {
	h := newFake(t)
	h.fault = times(1, isMethod("POST", "/comment"), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if err := h.client(nil).Comment(t.Context(), repoM, 1, "x"); err == nil || h.count("POST", "/comment") != 1 {
		t.Errorf("%v after %d requests", err, h.count("POST", "/comment"))
	}
}

func TestBandwidth(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"x.bin": random(1, 60_000)})
	c := h.client(func(cfg *Config) { cfg.Bandwidth = 200_000 })
	start := time.Now()
	if _, err := c.Download(t.Context(), repoM, "main", "x.bin"); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 250*time.Millisecond || d > 30*time.Second {
		t.Errorf("60 kB at 200 kB/s took %v", d)
	}
}

func TestWarningsOfTheHubAreLoggedOnce(t *testing.T) {
	h := newFake(t)
	var log *bytes.Buffer
	c := h.client(func(cfg *Config) { log = logged(cfg) })
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		w.Header().Set("X-HF-Warning", "old; please update")
		return w, false
	}
	for range 3 {
		if _, err := c.Whoami(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "please update"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}
