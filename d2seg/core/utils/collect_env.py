"""What a bug report should say of a machine, under detectron2's path; runs as a program too."""

from d2seg.core.runtime.environment import collect_env_info

__all__ = ["collect_env_info"]

if __name__ == "__main__":
    print(collect_env_info())
