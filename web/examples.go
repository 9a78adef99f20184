package web

// Example is a prompt offered on the page.
type Example struct {
	Domain string // what the text is about, as the corpus names it
	Prompt string
}

// Examples returns one prompt for each of the 19 domains of the training text,
// written for this page. The caller owns the slice.
func Examples() []Example {
	return []Example{
		{"biology", "Any process in a root cell that slows the transport of calcium ions across"},
		{"code-c", "/*\n** Return the number of open cursors on table pTab, or -1 if the\n** table has been dropped.\n*/\nstatic int openCursors("},
		{"code-go", "// Trim returns the lines of s without trailing spaces.\nfunc Trim(s string) []string {\n\tvar lines []string\n\tfor"},
		{"code-js", "class OrbitCamera extends Object3D {\n\n\tconstructor( target, distance ) {\n\n\t\tsuper();\n"},
		{"code-lisp", "(defun count-nodes (tree)\n  \"Return the number of conses in TREE.\"\n  (if"},
		{"code-python", "def moving_average(values, width):\n    \"\"\"Return the mean of every run of width values.\"\"\"\n    if width < 1:\n"},
		{"code-rust", "/// Returns the longest prefix shared by all slices.\npub fn shared_prefix<'a>(items: &[&'a [u8]]) -> &'a [u8] {\n    let"},
		{"databases", "To see why a query does not use the new index, run EXPLAIN and compare the estimated"},
		{"fiction", "The letter had come on Tuesday, and by Thursday the whole parish knew that Miss Harrow"},
		{"formal-math", "The sum of two even integers is an even integer. (Contributed by"},
		{"geography", "The island lies about 300 km east of the mainland. Its climate is"},
		{"legal", "Permission to use this software is granted to any person, provided that the following conditions"},
		{"lexicon", "lantern (noun): a portable"},
		{"python-docs", "The module provides a class for reading logs line by line. If the file does not exist,"},
		{"religion", "And when the evening had come, the shepherds went up to the house and said to the old man,"},
		{"sci-docs", "Compute the eigenvalues of a symmetric banded matrix.\n\nParameters\n----------\n"},
		{"speeches", "My fellow citizens, in the year that lies behind us our harbors have been rebuilt, and I ask the Congress to"},
		{"unix-manual", "The -r option copies directories recursively. If a target file already exists, the utility"},
		{"web-docs", "To send visitors from the old address to the new one, add a rule to the server configuration that"},
	}
}
