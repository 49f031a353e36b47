# Passes the output of `cargo test` on, and ends with what ran. The last line of the input is `exit` and the code
# that cargo test ended with; this ends with the same, or with 1 if no test ran at all.
/^exit [0-9]+$/ { code = $2; next }
{ print; fflush() }
/^test result: / {
    programs++
    for (i = 2; i <= NF; i++) {
        if ($i == "passed;") passed += $(i - 1)
        if ($i == "failed;") failed += $(i - 1)
        if ($i == "ignored;") ignored += $(i - 1)
    }
}
/^model, .* states, / { model = model "\n" $0 }
END {
    printf "%s\n\n%d tests passed, %d failed and %d were ignored, in %d test programs.\n", model, passed, failed, ignored, programs
    if (passed + failed == 0 && code == 0) code = 1
    exit code
}
