#!/usr/bin/env python3
"""Make a thumbnail of each PNG in a folder of a bucket, one part for each.

The packaged program is ImageMagick's `convert`:

    ALLOW_LD=1 bin/lambdaize.sh "$(command -v convert)" '' ''
"""

import mu


async def thumbnail(worker: mu.Worker, key: str) -> None:
    """One picture: frames/NAME.png to thumbs/NAME.jpg."""
    name = key.rpartition("/")[2].removesuffix(".png")
    await worker.retrieve(key, "in.png")
    await worker.run("./convert", "in.png", "-resize", "200x", "out.jpg")
    await worker.upload("out.jpg", f"thumbs/{name}.jpg")


if __name__ == "__main__":
    mu.main(thumbnail, mu.objects("s3://mybucket/frames/*.png"), function="convert", bucket="mybucket")
