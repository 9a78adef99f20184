package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// places refuses files that would not each come to lie under its own name below
// root: names that Windows keeps for itself there, and names that differ in case or
// in the form of their accents alone, where the file system takes them for one.
// scratch is a folder below root for the trial, which is made only if it is needed.
func (c *Client) places(root *os.Root, scratch string, entries []Entry) error {
	names := make([]string, len(entries))
	for i, e := range entries {
		if c.windows {
			if err := checkWindows(e.Path); err != nil {
				return err
			}
		}
		names[i] = e.Path
	}
	return alike(names, func(a, b string) error { return c.apart(root, scratch, a, b) })
}

// alike calls found for names, or folders in them, that some file system takes for one,
// until it returns an error.
func alike(names []string, found func(a, b string) error) error {
	taken := make(map[string]string, len(names))
	for _, name := range names {
		if other, ok := taken[folded(name)]; ok {
			if err := found(other, name); err != nil {
				return err
			}
		}
		taken[folded(name)] = name
	}
	for _, name := range names { // a file where others have a folder
		for i, char := range name {
			if char != '/' {
				continue
			}
			if other, ok := taken[folded(name[:i])]; ok {
				if err := found(other, name[:i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// warnAlike warns of names in an upload that some file systems take for one.
func (c *Client) warnAlike(repo Repo, names []string) {
	left := 5 // more would hide the rest of what is said
	_ = alike(names, func(a, b string) error {
		c.log.Warn(fmt.Sprintf("%+q and %+q differ only in case or Unicode form: on macOS and Windows one replaces the other, so rename one of them", a, b), "repo", repo.String())
		if left--; left == 0 {
			return fs.SkipAll
		}
		return nil
	})
}

// folded is the same for names that some file system takes for one.
func folded(name string) string { return norm.NFC.String(strings.ToLower(norm.NFD.String(name))) }

// apart is an error if two names are one file.
func (c *Client) apart(root *os.Root, scratch, a, b string) error {
	one, err := c.sameName(root, scratch, a, b)
	if err != nil {
		return fmt.Errorf("try whether %q and %q can lie side by side: %w", a, b, err)
	}
	if one {
		return fmt.Errorf("the repository has %q and %q, which are one name where %s is; leave one of them out, or download to another file system", a, b, root.Name())
	}
	return nil
}

// sameName tries whether a file system takes two names, alike but for case and
// accents, for one.
func sameName(root *os.Root, scratch, a, b string) (bool, error) {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	dir := scratch + "/" + randomHex() + ".tmp"
	if err := root.MkdirAll(dir, 0o777); err != nil {
		return false, err
	}
	defer func() { _ = root.RemoveAll(dir) }()
	for i, part := range as {
		if part == bs[i] {
			continue
		}
		f, err := root.OpenFile(dir+"/"+part, os.O_WRONLY|os.O_CREATE, 0o666)
		if err != nil {
			return false, err
		}
		_ = f.Close()
		if _, err := root.Lstat(dir + "/" + bs[i]); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// windowsDevices are names that open a device in every folder of Windows, whatever
// follows their first dot.
const windowsDevices = " CON PRN AUX NUL CONIN$ CONOUT$ COM0 COM1 COM2 COM3 COM4 COM5 COM6 COM7 COM8 COM9 COM¹ COM² COM³" +
	" LPT0 LPT1 LPT2 LPT3 LPT4 LPT5 LPT6 LPT7 LPT8 LPT9 LPT¹ LPT² LPT³ "

// checkWindows refuses a path that Windows would not keep as it is.
func checkWindows(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		base, _, _ := strings.Cut(part, ".")
		base = strings.ToUpper(strings.TrimRight(base, " "))
		switch {
		case strings.Contains(windowsDevices, " "+base+" ") && base != "":
			return fmt.Errorf("file name %q is reserved on Windows; leave it out", name)
		case strings.ContainsAny(part, `<>:"|?*`):
			return fmt.Errorf("file name %q has a character that Windows does not allow; leave it out", name)
		case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " "):
			return fmt.Errorf("file name %q has a part that ends in a dot or blank, which Windows drops; leave it out", name)
		}
	}
	return nil
}
