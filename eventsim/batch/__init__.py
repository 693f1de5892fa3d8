"""Many runs: folders, evaluations, studies, and the processes that they run in."""
