"""Seeds to stored codes and tags: the manifest, Parquet shards, and what fills them."""
