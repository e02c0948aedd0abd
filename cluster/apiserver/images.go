package apiserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ciaocloud/ciao/cluster"
	"github.com/ciaocloud/ciao/cluster/api"
	"github.com/ciaocloud/ciao/cluster/controller"
)

type createImage struct {
	ForTenant
	Body api.CreateImage
}

type listImages struct {
	ForTenant
	Page
}

type oneImage struct {
	ForTenant
	Named
}

// contentType is the media type of an image's content.
const contentType = "application/octet-stream"

// uploadImage has the content as a stream: it does not fit into memory.
type uploadImage struct {
	ForTenant
	Named
	Offset  int64 `query:"offset" minimum:"0" doc:"of the body in the content: what the image says is uploaded"`
	content io.Reader
}

// Resolve implements huma.Resolver.
func (u *uploadImage) Resolve(ctx huma.Context) []error {
	u.content = patient{ctx}
	return nil
}

// patient reads a body that takes long to come, as long as it goes on coming.
type patient struct{ huma.Context }

func (p patient) Read(data []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return 0, err
	}
	return p.BodyReader().Read(data)
}

func (s *Server) registerImages(a huma.API) {
	const tag = "images"
	handle(s, a, operation("create-image", http.MethodPost, "/images", "Create an image; its content is uploaded afterwards", tag), s.createImage)
	handle(s, a, operation("list-images", http.MethodGet, "/images", "List the tenant's and the public images", tag), s.listImages)
	handle(s, a, operation("get-image", http.MethodGet, "/images/{ref}", "Show an image", tag), s.getImage)
	handleEmpty(s, a, operation("delete-image", http.MethodDelete, "/images/{ref}", "Delete an image that nothing uses", tag), s.deleteImage)
	content := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	upload := operation("upload-image", http.MethodPut, "/images/{ref}/content", "Upload the content of an image, or the rest of it", tag)
	upload.Description = "The image is active when all of its bytes are there and right. After a connection that broke, the image says how many are there."
	upload.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{contentType: {Schema: content}}}
	upload.SkipValidateBody = true
	handle(s, a, upload, s.uploadImage)
	download := operation("download-image", http.MethodGet, "/images/{ref}/content", "Download the content of an image; parts by Range (RFC 9110)", tag)
	download.Errors = []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict}
	download.Responses = map[string]*huma.Response{"200": {Description: "the content", Content: map[string]*huma.MediaType{contentType: {Schema: content}}}}
	huma.Register(a, download, s.downloadImage)
}

func (s *Server) createImage(ctx context.Context, in *createImage) (api.Image, error) {
	scope, err := s.imageScope(ctx, in)
	if err != nil {
		return api.Image{}, err
	}
	created, err := s.config.UseCases.CreateImage(ctx, scope, controller.ImageRequest{
		Name: in.Body.Name, Visibility: in.Body.Visibility, Format: in.Body.Format, Bytes: in.Body.Bytes, Digest: in.Body.Digest,
	})
	return imageOf(created), err
}

// imageScope is the owner of a new image: a private one is a tenant's, others are the operator's.
func (s *Server) imageScope(ctx context.Context, in *createImage) (string, error) {
	switch in.Body.Visibility {
	case cluster.Public, cluster.Internal:
		if err := operator(ctx); err != nil {
			return "", fmt.Errorf("an image that is %s: %w", in.Body.Visibility, err)
		}
		return controller.Operator, nil
	}
	return s.owner(ctx, in.Tenant)
}

func (s *Server) listImages(ctx context.Context, in *listImages) (api.List[api.Image], error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.List[api.Image]{}, err
	}
	found, next, err := s.config.UseCases.Images(ctx, scope, controller.Page(in.Page))
	return api.List[api.Image]{Items: each(found, imageOf), Next: next}, err
}

func (s *Server) getImage(ctx context.Context, in *oneImage) (api.Image, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.Image{}, err
	}
	found, err := s.config.UseCases.Image(ctx, scope, in.Ref)
	return imageOf(found), err
}

func (s *Server) deleteImage(ctx context.Context, in *oneImage) error {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return err
	}
	return s.config.UseCases.DeleteImage(ctx, scope, in.Ref)
}

func (s *Server) uploadImage(ctx context.Context, in *uploadImage) (api.Image, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return api.Image{}, err
	}
	image, err := s.config.UseCases.UploadImage(ctx, scope, in.Ref, in.Offset, in.content)
	return imageOf(image), err
}

func (s *Server) downloadImage(ctx context.Context, in *oneImage) (*huma.StreamResponse, error) {
	scope, err := s.scope(ctx, in.Tenant)
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	image, content, err := s.config.UseCases.OpenImage(ctx, scope, in.Ref)
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	return &huma.StreamResponse{Body: func(out huma.Context) {
		defer content.Close()
		r, w := humago.Unwrap(out)
		serveContent(w, r, image.Digest, content)
	}}, nil
}

// readBlob is for nodes: it has its own judgement of callers.
func (s *Server) readBlob(w http.ResponseWriter, r *http.Request) {
	node, proof, err := s.identifyNode(r.TLS)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	ctx, over := s.running.begin(r.Context(), proof)
	defer over()
	digest := r.PathValue("digest")
	content, err := s.config.UseCases.OpenBlob(ctx, node, digest)
	if err != nil {
		s.logger.Info("node refused", "node", node, "why", err)
		writeProblem(w, api.ProblemOf(err))
		return
	}
	defer content.Close()
	serveContent(w, r.WithContext(ctx), digest, content)
}

// serveContent answers with a content or the parts of it that are asked for.
func serveContent(w http.ResponseWriter, r *http.Request, digest string, content io.ReadSeeker) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("ETag", `"`+digest+`"`)
	http.ServeContent(w, r, "", time.Time{}, content)
}

func imageOf(i controller.ImageUpload) api.Image {
	return api.Image{
		ID: i.ID, Name: i.Name, Tenant: i.Tenant, Visibility: i.Visibility, State: i.State, Format: i.Format, Bytes: i.Bytes, Uploaded: i.Uploaded,
		DiskBytes: i.DiskBytes, Digest: i.Digest, Reason: i.Reason, Created: i.Created,
	}
}
