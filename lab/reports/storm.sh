# Fourteen OOMs within five seconds: from the eleventh on the kernel leaves the table out.
memcg job memory.max=8M
before
for number in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do hog "grower $number" job 0 1 grow=20; done
ended 14
