"""A cohort on many machines: Dask's scheduler, one case a task, the same code for each as on one machine."""
