"""Classify uploads one after another, with limits of their number and time."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from videonl.errors import VideoError
from videonl.inference.prediction import Prediction
from videonl.inference.predictor import Predictor
from videonl.video.sandbox import DecoderPool, SandboxedVideo
from videonl.video.spool import SpoolFile
from videonl.video.views import read_views

DECODERS = 2  # while the network computes, the next file is decoded


class StoppedError(Exception):
    """The job was stopped, because nobody waits for it any more."""


class Job:
    """The work for one upload, decoding and classification; runs in a thread.

    Args:
        predictor: classifies.
        pool: decodes.
        upload: the file; it is deleted when the job ends, in every case.
        views: (clips, crops).
        top_k: classes in the answer.
        turn: held while the network computes.
    """

    def __init__(
        self,
        predictor: Predictor,
        pool: DecoderPool,
        upload: SpoolFile,
        *,
        views: tuple[int, int],
        top_k: int,
        turn: threading.Lock,
    ) -> None:
        self._predictor, self._pool, self._upload = predictor, pool, upload
        self._views, self._top_k, self._turn = views, top_k, turn
        self._stopped = threading.Event()
        self._video: SandboxedVideo | None = None
        self.began = math.inf  # when a thread took it up

    def run(self) -> Prediction:
        """Classify.

        Raises:
            VideoError: the file cannot be read.
            StoppedError: :meth:`stop` was called.
        """
        self.began = time.monotonic()
        with closing(self._upload):
            try:
                self._check()
                with self._pool.open(
                    self._upload.path,
                    decoder=self._predictor.decoder,
                    forgiving=True,
                    started=self._opened,
                ) as video:
                    read = read_views(video, self._predictor.shown(video, self._views))
                self._check()
                with self._turn:
                    self._check()
                    return self._predictor.judge(self._upload.path, read, self._top_k, self._check)
            except VideoError:
                self._check()  # the decoder failed because the job was stopped
                raise

    def stop(self) -> None:
        """Stop soon: the decoding process at once, the network after the current views."""
        self._stopped.set()
        if self._video is not None:
            self._video.cancel()

    def _opened(self, video: SandboxedVideo) -> None:
        self._video = video
        self._check()

    def _check(self, _views: int = 0) -> None:
        if self._stopped.is_set():
            raise StoppedError


class Desk:
    """Accepts uploads while there is room.

    Attributes:
        active: uploads accepted and not finished.

    Args:
        predictor: classifies.
        pool: decodes; its ``time_limit`` is that of a whole request.
        room: uploads at a time, whether arriving, waiting or being classified.
    """

    def __init__(self, predictor: Predictor, pool: DecoderPool, *, room: int) -> None:
        self.predictor, self.pool, self.room = predictor, pool, room
        self.active = 0
        self._turn = threading.Lock()
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="classify")
        self._jobs: set[Job] = set()
        self._usual_seconds = 1.0

    def enter(self) -> bool:
        """Reserve a place if there is one; :meth:`leave` or :meth:`classify` releases it."""
        if self.active >= self.room:
            return False
        self.active += 1
        return True

    def leave(self) -> None:
        """Release a place."""
        self.active -= 1

    @property
    def retry_after(self) -> int:
        """Seconds after which half of the queue should be done, ``DECODERS`` at a time."""
        return max(1, min(120, round(self.active / DECODERS * self._usual_seconds / 2)))

    async def classify(
        self,
        upload: SpoolFile,
        *,
        views: tuple[int, int],
        top_k: int,
        gone: Callable[[], "asyncio.Future[None]"],
    ) -> Prediction:
        """Classify an upload; the file and the place are released in every case.

        Args:
            upload: the file.
            views: (clips, crops).
            top_k: classes in the answer.
            gone: starts a future that ends when the client has disconnected.

        Raises:
            VideoError: the file cannot be read.
            TimeoutError: it takes longer than the limit.
            StoppedError: the client has disconnected.
        """
        loop = asyncio.get_running_loop()
        job = Job(self.predictor, self.pool, upload, views=views, top_k=top_k, turn=self._turn)
        self._jobs.add(job)
        work = loop.run_in_executor(self._threads, job.run)
        work.add_done_callback(lambda done: self._done(job, done))
        leaving = asyncio.ensure_future(gone())
        try:
            await asyncio.wait(
                (work, leaving),
                timeout=self.pool.time_limit or None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if work.done():
                prediction = work.result()
                took = time.monotonic() - job.began  # without its time in the queue
                self._usual_seconds += 0.2 * (took - self._usual_seconds)
                return prediction
            if leaving.done():
                raise StoppedError
            raise TimeoutError
        finally:
            job.stop()
            leaving.cancel()

    def _done(self, job: Job, work: "asyncio.Future[Prediction]") -> None:
        if not work.cancelled():
            work.exception()  # nobody may be left to ask for it
        self._jobs.discard(job)
        self.leave()

    def close(self) -> None:
        """Stop all jobs and wait for the threads."""
        for job in list(self._jobs):
            job.stop()
        self._threads.shutdown(wait=True, cancel_futures=False)
