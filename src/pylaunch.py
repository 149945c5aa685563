from mu.pylaunch import launchpar as launchpar  # the original's scripts import it by this name
