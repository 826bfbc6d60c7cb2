//! Command line on the console.
#![no_std]
