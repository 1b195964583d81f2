// Verifies a log with the packages behind Go's checksum database alone: nothing here comes from Isthmus.
// One JSON list of checks on stdin, one JSON list of results on stdout: {"ok": …} or {"refused": …}.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type check struct {
	Op      string   // checkpoint, directory, receipt, consistency or vector
	Vkey    string   // of the log
	Note    string   // its checkpoint
	Old     string   // an older checkpoint
	Dir     string   // static files
	Entries bool     // whether they hold entries
	Receipt string   // a .tlog-proof file
	Entry   []byte   // what it is about
	Index   int64    // the fields of a published vector
	Size    int64    //
	Root    []byte   //
	Leaf    []byte   //
	Proof   []string // hashes in base64
}

// openNote returns the tree that the log's own signature vouches for.
func openNote(text, vkey string) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tree, errors.New("not a checkpoint of this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// folder reads tiles from static files; Go's own paths name the tile's height, which tlog-tiles fixes at 8.
type folder string

func (f folder) Height() int { return 8 }

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(string(f), "tile", strings.TrimPrefix(tile.Path(), "tile/8/")))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// entries reads the bundle that hashes to a tile of level 0.
func (f folder) entries(tile tlog.Tile) (all [][]byte, err error) {
	path := filepath.Join(string(f), "tile", "entries", strings.TrimPrefix(tile.Path(), "tile/8/0/"))
	data, err := os.ReadFile(path)
	for err == nil && len(data) > 0 {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, errors.New("bundle cut short")
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		all, data = append(all, data[2:end]), data[end:]
	}
	return all, err
}

// directory authenticates every leaf hash of the files, and every entry, and proves some of them anew.
func directory(tree tlog.Tree, f folder, entries bool) error {
	reader := tlog.TileHashReader(tree, f)
	for begin := int64(0); begin < tree.N; begin += 256 {
		var indexes []int64
		for at := begin; at < begin+256 && at < tree.N; at++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, at))
		}
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveRecord(tree.N, begin, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, begin, hashes[0]); err != nil {
			return err
		}
		if !entries {
			continue
		}
		found, err := f.entries(tlog.Tile{H: 8, L: 0, N: begin / 256, W: len(hashes)})
		if err != nil {
			return err
		}
		if len(found) != len(hashes) {
			return fmt.Errorf("bundle %d holds %d entries", begin/256, len(found))
		}
		for at, entry := range found {
			if tlog.RecordHash(entry) != hashes[at] {
				return fmt.Errorf("entry %d is not the one the log committed to", begin+int64(at))
			}
		}
	}
	return nil
}

func hashes(texts []string) (all []tlog.Hash, err error) {
	for _, text := range texts {
		hash, err := tlog.ParseHash(text)
		if err != nil {
			return nil, err
		}
		all = append(all, hash)
	}
	return all, nil
}

// receipt checks a .tlog-proof file (C2SP tlog-proof) of an entry.
func receipt(text, vkey string, entry []byte) (tree tlog.Tree, err error) {
	head, checkpoint, found := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		return tree, errors.New("not a tlog-proof")
	}
	if tree, err = openNote(checkpoint, vkey); err != nil {
		return tree, err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return tree, err
	}
	proof, err := hashes(lines[2:])
	if err != nil {
		return tree, err
	}
	return tree, tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

func consistency(c check) (tree tlog.Tree, err error) {
	old, err := openNote(c.Old, c.Vkey)
	if err != nil {
		return tree, err
	}
	if tree, err = openNote(c.Note, c.Vkey); err != nil {
		return tree, err
	}
	if c.Dir != "" {
		// The proof from the files themselves, as a client of the tiles makes it.
		proof, err := tlog.ProveTree(tree.N, old.N, tlog.TileHashReader(tree, folder(c.Dir)))
		if err != nil {
			return tree, err
		}
		return tree, tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
	}
	proof, err := hashes(c.Proof)
	if err != nil {
		return tree, err
	}
	return tree, tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
}

func run(c check) (tree tlog.Tree, err error) {
	switch c.Op {
	case "checkpoint":
		return openNote(c.Note, c.Vkey)
	case "directory":
		if tree, err = openNote(c.Note, c.Vkey); err != nil {
			return tree, err
		}
		return tree, directory(tree, folder(c.Dir), c.Entries)
	case "receipt":
		return receipt(c.Receipt, c.Vkey, c.Entry)
	case "consistency":
		return consistency(c)
	case "vector":
		var root, leaf tlog.Hash
		copy(root[:], c.Root)
		copy(leaf[:], c.Leaf)
		proof, err := hashes(c.Proof)
		if err != nil {
			return tree, err
		}
		return tlog.Tree{N: c.Size, Hash: root}, tlog.CheckRecord(proof, c.Size, root, c.Index, leaf)
	}
	return tree, fmt.Errorf("no check %q", c.Op)
}

func main() {
	var checks []check
	if err := json.NewDecoder(os.Stdin).Decode(&checks); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	results := []map[string]interface{}{}
	for _, c := range checks {
		tree, err := run(c)
		if err != nil {
			results = append(results, map[string]interface{}{"refused": err.Error()})
			continue
		}
		root := base64.StdEncoding.EncodeToString(tree.Hash[:])
		results = append(results, map[string]interface{}{"size": tree.N, "root": root})
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		os.Exit(2)
	}
}
