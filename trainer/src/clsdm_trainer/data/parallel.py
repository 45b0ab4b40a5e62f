"""Work on many scans in processes of their own, one of which may die."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import SimpleITK as sitk  # noqa: N813 - its usual name

Job = TypeVar("Job")
Result = TypeVar("Result")


def results(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, died: Callable[[Job], Result]
) -> Iterator[Result]:
    """The result of ``work`` for each job, in the order in which they are finished; with one worker, in this process.

    Args:
        work: picklable, as the jobs are.
        jobs: different objects.
        workers: processes at the most.
        died: the result of a job whose process died twice, the second time alone in it; the others go on.
    """
    if min(workers, len(jobs)) == 1:
        yield from map(work, jobs)
        return
    left = {id(job): job for job in jobs}
    try:
        for job, result in _in_pool(work, jobs, workers):
            del left[id(job)]
            yield result
        return
    except BrokenProcessPool:
        suspects = list(left.values())
    for job in suspects:
        try:
            yield from (result for _, result in _in_pool(work, [job], 1))
        except BrokenProcessPool:
            yield died(job)


def _in_pool(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Result]]:
    context = multiprocessing.get_context("spawn")  # the only one that Windows has, and safe beside threads
    with ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=_use_one_thread) as pool:
        job_of = {pool.submit(work, job): job for job in jobs}
        try:
            for future in as_completed(job_of):
                yield job_of[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _use_one_thread() -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
