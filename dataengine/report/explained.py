"""What each error of an asset means, and what to do about it; docs/errors.md says the same."""

from dataengine.errors import ErrorCode

EXPLAINED = {
    ErrorCode.FETCH_404: (
        "the source does not have the file (any more)",
        "nothing for public collections: files disappear. In a list of your own, correct the address and plan again",
    ),
    ErrorCode.FETCH_TIMEOUT: (
        "the source did not deliver within the deadline, after retries",
        "`--retry` later; `dataengine doctor --online` asks whether the host answers at all",
    ),
    ErrorCode.FETCH_DENIED: (
        "the source wants a token, or terms accepted, that this machine does not show",
        "accept the terms on its page and set the token that the message names (`HF_TOKEN`, cloud "
        "credentials); `--retry`",
    ),
    ErrorCode.SHA_MISMATCH: (
        "the bytes are not those that the source or the plan named",
        "the file has changed since: plan again to take it as it is now",
    ),
    ErrorCode.UNSUPPORTED: (
        "a format, version or required extension that Blender cannot read",
        "install the extra `compressed` if the message names it; else convert the file",
    ),
    ErrorCode.MALFORMED: (
        "the file breaks its own format's rules; in tokens, a member of a views shard that cannot be read",
        "export it again; for tokens, `dataengine verify` and render the shard again",
    ),
    ErrorCode.UNSAFE_PATH: (
        "the file refers to something outside its own folder, or is no regular file",
        "put textures beside the model, replace links by files",
    ),
    ErrorCode.TOO_LARGE: (
        "over a limit of the corpus: bytes, declared elements, pixels of a texture",
        "the limits are part of the corpus; a simplified copy is usually the better asset",
    ),
    ErrorCode.IMPORT_ERROR: (
        "Blender's importer refused the file or raised",
        "`log` says where; open the file in Blender, export it as GLB",
    ),
    ErrorCode.EMPTY_SCENE: (
        "the import ended well but left no visible geometry",
        "a file of lights, curves or hidden objects: leave it out with `--where`",
    ),
    ErrorCode.BAD_GEOMETRY: (
        "geometry without extent, or with coordinates that are not finite",
        "repair it; a single point or a NaN is enough",
    ),
    ErrorCode.TIMEOUT: (
        "the asset used up its CPU or wall-clock deadline: twice in Blender, or while its file was read",
        "a scene of its own kind of size; simplify it. Many at once: the machine is overloaded, use fewer `--workers`",
    ),
    ErrorCode.CRASH: (
        "Blender died on this asset, twice",
        "`log` holds its last words; if it begins with `internal:`, the fault is dataengine's: please report it",
    ),
    ErrorCode.OUT_OF_MEMORY: (
        "Blender, or reading the file, went over the memory limit on this asset",
        "simplify it, or shrink its textures",
    ),
    ErrorCode.BLANK: (
        "the asset rendered to nothing: no view covers more than a few pixels by half, or none has any depth",
        "usually materials that are fully transparent, or geometry far from its own bounding box",
    ),
    ErrorCode.BAD_DEPTH: (
        "the depth of a view is speckled: surfaces that are partly transparent in a way that the renderer "
        "does not resolve",
        "look at it with `dataengine inspect`; export its materials with alpha mode mask or opaque, or leave it out",
    ),
}
"""Code → (what it means, what to do)."""
