# cpack reads this for each format. It chooses the files of the package.

if(NOT CPACK_INSTALL_CMAKE_PROJECTS) # nothing is installed for the source package
    return()
endif()
if(CPACK_GENERATOR STREQUAL DEB)
    set(own debian)
else()
    set(own elsewhere)
endif()
list(GET CPACK_INSTALL_CMAKE_PROJECTS 0 build)
set(components)
foreach(component Unspecified ${own} folders)
    list(APPEND components ${build} h2olog ${component} /)
endforeach()
set(CPACK_INSTALL_CMAKE_PROJECTS "${components}")
