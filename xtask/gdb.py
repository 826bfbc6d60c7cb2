"""Lockstep for gdb: the symbols of the kernel and of every module that is loaded, at its address, now and later.

Used by `./x gdb`; by hand: gdb-multiarch out/kernel.elf -x xtask/gdb.py -ex 'lockstep localhost:1234'
"""

import os
import re

import gdb

# Where modules with debugging information are, seen from the kernel's file.
FOLDERS = ["modules", "test-modules"]

# The kernel's list (kernel/src/modules/debugger.rs), and the function that it calls when that has changed.
LIST = "LOCKSTEP_MODULES_LOADED"
CHANGED = "lockstep_modules_changed"

# What the register VBAR_EL1 holds once the kernel runs (kernel/src/processor/exceptions.s).
VECTORS = "exception_vectors"


def address_of(symbol):
    """Where a symbol of the kernel is, as gdb believes."""
    sentence = gdb.execute(f"info address {symbol}", to_string=True)
    return int(re.search("0x[0-9a-f]+", sentence).group(), 16)


def loaded_modules():
    """The kernel's list: a line for each module, with its name and where its sections are."""
    inferior = gdb.selected_inferior()
    start, size = (
        int.from_bytes(inferior.read_memory(address_of(LIST) + offset, 8), "little") for offset in (0, 8)
    )
    return set(bytes(inferior.read_memory(start, size)).decode().splitlines()) if size else set()


class Modules(gdb.Breakpoint):
    """Stops where the list has changed, follows it, and goes on."""

    def __init__(self):
        super().__init__(CHANGED, internal=True)
        self.silent = True
        self.kernel = gdb.objfiles()[0].filename
        # The lines whose symbols gdb has.
        self.known = {}

    def stop(self):
        self.follow()
        return False

    def follow(self):
        loaded = loaded_modules()
        for line in self.known.keys() - loaded:
            if self.known.pop(line):
                sections = line.split()
                gdb.execute(f"remove-symbol-file -a {sections[sections.index('.text') + 1]}", to_string=True)
        for line in loaded - self.known.keys():
            name, sections = line.split(" ", 1)
            self.known[line] = path = self.file_of(name)
            if path:
                gdb.execute(f'add-symbol-file "{path}" {sections}', to_string=True)
            else:
                print(f"module {name} has no symbols: there is no {name}.o in {' or '.join(FOLDERS)}")

    def file_of(self, name):
        paths = (os.path.join(os.path.dirname(self.kernel), folder, name + ".o") for folder in FOLDERS)
        return next(filter(os.path.exists, paths), None)


class Lockstep(gdb.Command):
    """lockstep HOST:PORT: attaches to a machine in QEMU (./x run -- -s)."""

    def __init__(self):
        super().__init__("lockstep", gdb.COMMAND_RUNNING)

    def invoke(self, address, from_tty):
        gdb.execute(f"target remote {address}", from_tty)
        try:
            # The kernel need not be where it was linked for. Before it runs, the register is zero.
            vectors = int(gdb.parse_and_eval("$VBAR")) & 0xFFFF_FFFF_FFFF_FFFF
            if vectors not in (0, address_of(VECTORS)):
                moved = vectors - address_of(VECTORS)
                gdb.execute(f'symbol-file "{modules.kernel}" -o {moved:#x}', to_string=True)
            modules.follow()
        except gdb.MemoryError:
            print("The kernel doesn't run yet: symbols of modules come when they are loaded, if it has nokaslr in its bootargs.")


# What is in modules that are loaded later.
gdb.execute("set breakpoint pending on")
gdb.execute("set confirm off")
modules = Modules()
Lockstep()
