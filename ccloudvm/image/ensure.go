package image

import (
	"context"
	"errors"
	"fmt"
)

// Request asks for an image.
type Request struct {
	// Name is of the catalogue; Source is used instead when its URL is set.
	Name   string
	Source Source

	// Packages should be in the image. A downloaded image never has them (see [Image.Packages]): whoever asked installs them then.
	Packages []string

	Policy Policy
}

// Policy says where an image of the catalogue may come from.
type Policy string

// The policies.
const (
	// Auto downloads, and builds when the site cannot be reached.
	Auto Policy = ""
	// BuildOnly never downloads an image.
	BuildOnly Policy = "build"
	// DownloadOnly never builds one.
	DownloadOnly Policy = "download"
)

// Ensure returns the image asked for, getting it by the way that works. What is in the store is used without asking anybody.
func (s *Store) Ensure(ctx context.Context, r Request, report Report) (Image, error) {
	if r.Source.URL != "" {
		return s.Fetch(ctx, r.Source, report)
	}
	e, err := Find(r.Name)
	if err != nil {
		return Image{}, err
	}
	recipe := Recipe{Suite: e.Suite, Packages: r.Packages}
	switch {
	case r.Policy == BuildOnly && e.Suite == "":
		return Image{}, fmt.Errorf("image %s cannot be built on this machine", e.Name)
	case r.Policy == BuildOnly:
		return s.buildFor(ctx, e, recipe, "it was asked for", report)
	case r.Policy == DownloadOnly || e.Suite == "":
		return s.Fetch(ctx, e.Source, report)
	}
	if err := recipe.check(); err != nil {
		return Image{}, err
	}
	if img, ok := s.built(recipe.normal().Digest()); ok { // made before, because the site could not be reached
		img.Name = e.Name
		return img, nil
	}
	img, err := s.Fetch(ctx, e.Source, report)
	if err == nil {
		img.Name = e.Name
		return img, nil
	}
	if !errors.Is(err, ErrUnreachable) {
		return Image{}, err
	}
	report.send(Progress{Phase: "build", Text: "the download site cannot be reached, so the image is built from packages"})
	img, buildErr := s.buildFor(ctx, e, recipe, err.Error(), report)
	if buildErr != nil {
		return Image{}, fmt.Errorf("image %s can neither be downloaded nor built: %w", e.Name, errors.Join(err, buildErr))
	}
	return img, nil
}

func (s *Store) buildFor(ctx context.Context, e Entry, r Recipe, why string, report Report) (Image, error) {
	img, err := s.Build(ctx, r, report)
	img.Name, img.Why = e.Name, why
	return img, err
}
