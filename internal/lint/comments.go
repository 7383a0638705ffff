package lint

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

var packageComments = Rule{
	Name:   "package-comments",
	Reason: "Every package opens with its purpose in a line, so that a newcomer finds his way by go doc alone.",
	Check: func(t Tree) (found []Finding) {
		first := map[string]File{}
		has := map[string]bool{}
		var dirs []string
		for f := range t.goFiles {
			dir := path.Dir(f.Path)
			if f.isTest() {
				continue
			}
			if _, known := first[dir]; !known {
				first[dir] = f
				dirs = append(dirs, dir)
			}
			has[dir] = has[dir] || f.syntax.Doc != nil
		}
		for _, dir := range dirs {
			if !has[dir] {
				f := first[dir]
				found = append(found, f.finding(f.syntax.Package, "the package %s has no package comment", f.syntax.Name.Name))
			}
		}
		return found
	},
}

// selfExplaining are methods whose meaning is given by an interface of the standard library.
var selfExplaining = []string{"String", "Error", "Unwrap", "Is", "Format", "GoString"}

var exportedComments = Rule{
	Name:   "exported-comments",
	Reason: "An exported name is a promise: its comment says units, ranges and errors.",
	Check: func(t Tree) (found []Finding) {
		for f := range t.goFiles {
			if f.isTest() || f.syntax.Name.Name == "main" {
				continue
			}
			for _, d := range f.syntax.Decls {
				if f.enumerates(d) {
					continue
				}
				for _, name := range undocumented(d) {
					found = append(found, f.finding(name.Pos(), "%s has no doc comment", name.Name))
				}
			}
		}
		return found
	},
}

// enumerates reports whether d is the constants of a type that the same file introduces with a comment: that comment
// speaks for them.
func (f File) enumerates(d ast.Decl) bool {
	constants, ok := d.(*ast.GenDecl)
	if !ok || constants.Tok != token.CONST || len(constants.Specs) == 0 {
		return false
	}
	kind, ok := constants.Specs[0].(*ast.ValueSpec).Type.(*ast.Ident)
	if !ok {
		return false
	}
	for _, other := range f.syntax.Decls {
		if types, ok := other.(*ast.GenDecl); ok && types.Tok == token.TYPE && types.Doc != nil {
			for _, spec := range types.Specs {
				if spec.(*ast.TypeSpec).Name.Name == kind.Name {
					return true
				}
			}
		}
	}
	return false
}

// undocumented returns the exported names that a declaration introduces without a comment. A comment on a group
// counts for all that stand in it.
func undocumented(d ast.Decl) (names []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		isMethod := d.Recv != nil
		if d.Doc == nil && d.Name.IsExported() && !(isMethod && (slices.Contains(selfExplaining, d.Name.Name) || !exportedReceiver(d))) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		if d.Doc != nil || d.Tok == token.IMPORT {
			return nil
		}
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Doc == nil && s.Comment == nil && s.Name.IsExported() {
					names = append(names, s.Name)
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if s.Doc == nil && s.Comment == nil && name.IsExported() {
						names = append(names, name)
					}
				}
			}
		}
	}
	return names
}

// exportedReceiver reports whether a method belongs to an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// homeless are names that say that a thing has no home yet.
var homeless = []string{"common", "types", "base", "misc"}

var fileNames = Rule{
	Name:   "file-names",
	Reason: "Files and packages are named for the thing inside; what is in a drawer of odds and ends has no home yet.",
	Check: func(t Tree) (found []Finding) {
		for _, f := range t.files {
			if !f.isGo() {
				continue
			}
			for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSuffix(f.Path, ".go"), "_test"), "/") {
				if slices.Contains(homeless, part) || strings.Contains(part, "util") {
					found = append(found, Finding{f.Path, 0, "the name " + part + " says nothing"})
				}
			}
		}
		return found
	},
}

// maxLines is where a file stops being readable in one go. Most have a quarter of it.
const maxLines = 900

var fileLengths = Rule{
	Name:   "file-lengths",
	Reason: "A file that grows beyond 900 lines has a second owner of state in it: look for it, and give it its own file.",
	Check: func(t Tree) (found []Finding) {
		for f := range t.goFiles {
			if lines := strings.Count(f.Content, "\n"); lines > maxLines && !ast.IsGenerated(f.syntax) {
				found = append(found, Finding{f.Path, lines, "the file is too long"})
			}
		}
		return found
	},
}
